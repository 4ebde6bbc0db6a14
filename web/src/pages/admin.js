// SPDX-License-Identifier: Apache-2.0
// Tenants, their tokens and quotas, templates, the audit log; for a tenant, its own account.
import { get } from '../lib/api.js';
import { useCell } from '../lib/cell.js';
import { changes, self } from '../lib/data.js';
import { useAsk, useTitle } from '../lib/hooks.js';
import { html } from '../lib/html.js';
import { Link } from '../lib/router.js';
import { Audit } from '../ui/audit.js';
import { openDialog } from '../ui/dialog.js';
import { Said, Working } from '../ui/said.js';
import { Ago } from '../ui/time.js';
import { Quotas, Tenant, TenantForm } from './tenant.js';
import { TemplatesSheet } from './templates.js';

function Tenants({ ask, open }) {
  return html`<section class="sheet tenants-sheet" aria-labelledby="tenants-title">
    <header>
      <h2 id="tenants-title">Tenants</h2>
      <button type="button" class="button" onClick=${() => openDialog(TenantForm, { again: ask.again })}>New tenant</button>
    </header>
    ${ask.problem && html`<div class="body"><${Said} problem=${ask.problem} again=${ask.again} /></div>`}
    ${!ask.data && !ask.problem && html`<div class="body"><${Working}>Reading the tenants</${Working}></div>`}
    ${ask.data?.tenants.length === 0 &&
    html`<div class="empty">
      <h3>No tenants yet</h3>
      <p>A tenant has sessions of its own and sees nobody else’s. Make one, and give its people a token.</p>
    </div>`}
    ${ask.data?.tenants.length > 0 &&
    html`<ul class="tenants">
      ${ask.data.tenants.map(
        (tenant) => html`<li key=${tenant.name}>
          <div class="tenant-line">
            <${Link}
              to=${open === tenant.name ? 'admin' : `admin/${tenant.name}`}
              class="name-link"
              aria-expanded=${open === tenant.name ? 'true' : 'false'}
            >
              ${tenant.name}
            </${Link}>
            <span class="dim">
              ${tenant.uid !== null && `user id ${tenant.uid} of the host · `}made <${Ago} time=${tenant.created} /> ago
            </span>
          </div>
          ${open === tenant.name && html`<${Tenant} name=${tenant.name} again=${ask.again} />`}
        </li>`,
      )}
    </ul>`}
  </section>`;
}

function AuditLog() {
  const turn = useCell(changes);
  const { data, problem, again } = useAsk(() => get('/v1/audit?limit=50'), [turn]);
  return html`<section class="sheet log-sheet" aria-labelledby="log-title">
    <header>
      <h2 id="log-title">Audit log</h2>
      <button type="button" class="button quiet" onClick=${again}>Read again</button>
    </header>
    <div class="body">
      ${problem && html`<${Said} problem=${problem} again=${again} />`}
      ${!data && !problem && html`<${Working}>Reading the audit log</${Working}>`}
      ${data &&
      (data.entries.length === 0
        ? html`<p class="dim">Nothing is recorded yet.</p>`
        : html`<${Audit} entries=${data.entries} withObject />`)}
    </div>
  </section>`;
}

function Account({ who }) {
  return html`<section class="sheet" aria-labelledby="account-title">
    <header><h2 id="account-title">${who.tenant}</h2></header>
    <div class="body stack">
      <${Quotas} limits=${who.limits} usage=${who.usage} />
      <p class="dim">You may ${who.permissions.join(', ')}. Quotas are set by whoever runs this host.</p>
    </div>
  </section>`;
}

export function AdminPage({ name }) {
  const who = useCell(self);
  const turn = useCell(changes);
  const tenants = useAsk(() => (who.admin ? get('/v1/tenants') : null), [turn, who.admin]);
  const own = useAsk(() => (who.admin ? null : get('/v1/self')), [who.tenant, turn]);
  useTitle(who.admin ? 'Admin' : 'Account');
  if (!who.admin)
    return html`<h1>Account</h1>
      <${Account} who=${own.data ?? who} />
      <${AuditLog} />`;
  return html`<h1>Admin</h1>
    <${TemplatesSheet} />
    <${Tenants} ask=${tenants} open=${name} />
    <${AuditLog} />`;
}
