// SPDX-License-Identifier: Apache-2.0
// One tenant: what it may use and does, and its tokens.
import { useState } from 'preact/hooks';
import { get, patch, post, remove } from '../lib/api.js';
import { useCell } from '../lib/cell.js';
import { changes } from '../lib/data.js';
import { bytes, fullTime, timer } from '../lib/format.js';
import { useAsk } from '../lib/hooks.js';
import { html } from '../lib/html.js';
import { closeDialog, Form, openDialog, STAY } from '../ui/dialog.js';
import { Duration, durationIn, numberIn, Size, sizeIn, Text, textIn } from '../ui/fields.js';
import { TimerFields, timersIn } from '../ui/limits.js';
import { Bar } from '../ui/memory.js';
import { Said, speak, Working } from '../ui/said.js';
import { Ago } from '../ui/time.js';

const path = (name, rest = '') => `/v1/tenants/${encodeURIComponent(name)}${rest}`;
const usual = (value, say) => (value === null ? html`<span class="dim">as usual</span>` : say(value));

function Quota({ word, used, limit, say }) {
  const known = limit !== null && limit > 0;
  return html`<div>
    <dt>${word}</dt>
    <dd>
      ${say(used)}<small>${known ? `of ${say(limit)}` : limit === 0 ? 'of none' : 'as much as is usual'}</small>
      <${Bar} parts=${known ? [['warm', used]] : []} whole=${limit || 1} />
    </dd>
  </div>`;
}

export function Quotas({ limits, usage }) {
  return html`<dl class="figures">
      <${Quota} word="Sessions that run" used=${usage.running} limit=${limits.sessions} say=${String} />
      <${Quota} word="Memory of their guests" used=${usage.memory_bytes} limit=${limits.memory_bytes} say=${bytes} />
      <${Quota} word="Parked, on disk" used=${usage.image_bytes} limit=${limits.parked_bytes} say=${bytes} />
      <div>
        <dt>Changes a minute</dt>
        <dd>${usual(limits.requests_per_minute, String)}</dd>
      </div>
    </dl>
    <dl class="facts">
      <dt>Parked when idle for</dt>
      <dd>${usual(limits.idle_s, timer)}</dd>
      <dt>Destroyed after</dt>
      <dd>${usual(limits.ttl_s, timer)}</dd>
      <dt>Kept parked for</dt>
      <dd>${usual(limits.retention_s, timer)}</dd>
    </dl>`;
}

// A quota that isn't said is null: the default.
function quotasIn(form) {
  const said = {
    sessions: numberIn(form, 'sessions'),
    memory_bytes: sizeIn(form, 'memory'),
    parked_bytes: sizeIn(form, 'parked'),
    requests_per_minute: numberIn(form, 'rate'),
    ...timersIn(form),
  };
  return Object.fromEntries(Object.entries(said).map(([key, value]) => [key, value ?? null]));
}

function QuotaFields({ limits = {} }) {
  return html`<div class="pair">
      <${Text}
        label="Sessions that run"
        name="sessions"
        type="number"
        min="0"
        value=${limits.sessions ?? ''}
        placeholder="as usual"
      />
      <${Text}
        label="Changes a minute"
        name="rate"
        type="number"
        min="1"
        value=${limits.requests_per_minute ?? ''}
        placeholder="as usual"
      />
      <${Size} label="Memory of their guests" name="memory" value=${limits.memory_bytes} />
      <${Size} label="Parked, on disk" name="parked" value=${limits.parked_bytes} />
    </div>
    <${TimerFields} timers=${limits} />
    <p class="help dim">What is left empty is as torpord’s configuration has it.</p>`;
}

export function TenantForm({ again }) {
  const make = async (form) => {
    await post('/v1/tenants', { name: textIn(form, 'name'), uid: numberIn(form, 'uid'), limits: quotasIn(form) });
    again();
  };
  return html`<${Form} title="New tenant" action="Make it" working="Making it …" act=${make}>
    <div class="pair">
      <${Text} label="Name" name="name" required maxlength="64" pattern="[A-Za-z0-9][A-Za-z0-9._\\-]*" data-first />
      <${Text}
        label="User id of the host"
        name="uid"
        type="number"
        min="0"
        placeholder="none"
        help="Who that is on the UNIX socket, without a token."
      />
    </div>
    <details><summary>Quotas</summary><${QuotaFields} /></details>
  </${Form}>`;
}

function QuotaForm({ tenant, again }) {
  const set = async (form) => {
    // What is left as it was isn't sent: another admin may have changed it meanwhile.
    const changed = Object.entries(quotasIn(form)).filter(([key, value]) => value !== tenant.limits[key]);
    await patch(path(tenant.name), { limits: Object.fromEntries(changed) });
    again();
  };
  return html`<${Form} title="Quotas of ${tenant.name}" action="Set" working="Setting …" act=${set}>
    <${QuotaFields} limits=${tenant.limits} />
  </${Form}>`;
}

function RemoveTenant({ name, again }) {
  const end = async () => {
    await remove(path(name));
    again();
  };
  return html`<${Form}
    title="Remove tenant ${name}?"
    lead="Its tokens are gone at once. It can’t be removed while it has sessions, parked ones too."
    action="Remove ${name}"
    working="Removing …"
    danger
    act=${end}
  />`;
}

// --- tokens ---

function TokenForm({ name, again }) {
  const [made, setMade] = useState(null);
  const [copied, setCopied] = useState(false);
  const make = async (form) => {
    const expires = durationIn(form, 'expires');
    const token = await post(path(name, '/tokens'), { label: textIn(form, 'label'), expires_s: expires || undefined });
    again();
    setMade(token);
    return STAY;
  };
  const copy = async () => {
    await navigator.clipboard.writeText(made.token);
    setCopied(true);
    speak('Copied');
  };
  if (made)
    return html`<form method="dialog">
      <h2 id="dialog-title">A token for ${name}</h2>
      <p class="lead">Keep it now: it is shown this once. Whoever has it is ${name}.</p>
      <div class="secret">
        <code>${made.token}</code>
        <span class="buttons"
          ><button type="button" class="button" onClick=${copy}>${copied ? 'Copied' : 'Copy'}</button></span
        >
      </div>
      <footer><button type="button" class="button main" onClick=${closeDialog}>I have it</button></footer>
    </form>`;
  return html`<${Form} title="A new token for ${name}" action="Make it" working="Making it …" act=${make}>
    <${Text}
      label="What it is for"
      name="label"
      maxlength="64"
      placeholder="laptop of ada"
      help="To tell it from others later."
      data-first
    />
    <${Duration} label="Valid for" name="expires" standard=${false} value=${2592000} />
  </${Form}>`;
}

function RemoveToken({ name, token, again }) {
  const end = async () => {
    await remove(path(name, `/tokens/${encodeURIComponent(token.id)}`));
    again();
  };
  return html`<${Form}
    title="Remove token ${token.label || token.id}?"
    lead="Whoever uses it is signed out at once."
    action="Remove it"
    working="Removing …"
    danger
    act=${end}
  />`;
}

function Tokens({ name }) {
  const ask = useAsk(() => get(path(name, '/tokens')), [name]);
  return html`<div>
    <h3>
      Tokens
      <button type="button" class="link" onClick=${() => openDialog(TokenForm, { name, again: ask.again })}>
        New token for ${name}
      </button>
    </h3>
    ${ask.problem && html`<${Said} problem=${ask.problem} />`}
    ${ask.data?.tokens.length === 0 && html`<p class="dim">None: nobody can sign in as ${name} yet.</p>`}
    ${ask.data?.tokens.length > 0 &&
    html`<div class="scroll-x" tabindex="0" role="region" aria-label="Tokens of ${name}">
      <table class="list">
        <thead>
          <tr>
            <th scope="col">For</th>
            <th scope="col">Id</th>
            <th scope="col">Made</th>
            <th scope="col">Valid until</th>
            <th scope="col"><span class="unseen">Actions</span></th>
          </tr>
        </thead>
        <tbody>
          ${ask.data.tokens.map(
            (token) => html`<tr key=${token.id}>
              <td>${token.label ?? html`<span class="dim">nothing was said</span>`}</td>
              <td class="mono">${token.id}</td>
              <td><${Ago} time=${token.created} /> ago</td>
              <td>${token.expires ? fullTime(token.expires) : 'for good'}</td>
              <td class="number">
                <button
                  type="button"
                  class="link"
                  aria-label="Remove token ${token.label || token.id}"
                  onClick=${() => openDialog(RemoveToken, { name, token, again: ask.again })}
                >
                  Remove …
                </button>
              </td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>`}
  </div>`;
}

export function Tenant({ name, again }) {
  const turn = useCell(changes);
  const ask = useAsk(() => get(path(name)), [name, turn]);
  const both = () => {
    ask.again();
    again();
  };
  if (ask.problem) return html`<${Said} problem=${ask.problem} />`;
  if (!ask.data) return html`<${Working}>Reading what ${name} uses</${Working}>`;
  return html`<div class="tenant stack">
    <${Quotas} limits=${ask.data.limits} usage=${ask.data.usage} />
    <div class="buttons">
      <button type="button" class="button" onClick=${() => openDialog(QuotaForm, { tenant: ask.data, again: both })}>
        Change quotas …
      </button>
      <button type="button" class="button danger" onClick=${() => openDialog(RemoveTenant, { name, again })}>
        Remove ${name} …
      </button>
    </div>
    <${Tokens} name=${name} />
  </div>`;
}
