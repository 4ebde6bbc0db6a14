// SPDX-License-Identifier: Apache-2.0
// Who is signed in, for whom the admin looks, and the way out.
import { get } from '../lib/api.js';
import { useCell } from '../lib/cell.js';
import { changes, signOut } from '../lib/data.js';
import { useAsk } from '../lib/hooks.js';
import { html } from '../lib/html.js';
import { setQuery } from '../lib/router.js';
import { closeDialog, openDialog } from './dialog.js';
import { Said } from './said.js';

function TenantChoice({ own, acting }) {
  const turn = useCell(changes);
  const { data } = useAsk(() => get('/v1/tenants'), [turn]);
  const names = (data?.tenants ?? []).map(({ name }) => name);
  const all = [...new Set([own, ...names, ...(acting ? [acting] : [])])].sort();
  return html`<label class="acting">
    <span class="unseen">Show the sessions of tenant</span>
    <select
      class="input"
      value=${acting || own}
      onChange=${({ target }) => setQuery({ tenant: target.value === own ? '' : target.value }, true)}
    >
      ${all.map((name) => html`<option value=${name}>${name}</option>`)}
    </select>
  </label>`;
}

function StillIn({ problem }) {
  return html`<form method="dialog">
    <h2 id="dialog-title">You are still signed in</h2>
    <${Said} problem=${problem} />
    <footer><button type="button" class="button main" data-first onClick=${closeDialog}>Close</button></footer>
  </form>`;
}

export function Account({ who, acting }) {
  const leave = () => signOut().catch((problem) => openDialog(StillIn, { problem }));
  return html`<div class="account">
    ${who.admin
      ? html`<span class="who admin">admin</span><${TenantChoice} own=${who.tenant} acting=${acting} />`
      : html`<span class="who" title="The tenant that you are signed in as">${who.tenant}</span>`}
    ${who.login !== false && html`<button type="button" class="button quiet" onClick=${leave}>Sign out</button>`}
  </div>`;
}
