// SPDX-License-Identifier: Apache-2.0
// What there is to know of a session, sheet by sheet.
import { remove, sessionPath } from '../lib/api.js';
import { sessions } from '../lib/data.js';
import { bytes, fullTime, timer } from '../lib/format.js';
import { html } from '../lib/html.js';
import { FRESH, SOURCES } from '../lib/states.js';
import { Audit } from '../ui/audit.js';
import { Form, openDialog } from '../ui/dialog.js';
import { Family } from '../ui/family.js';
import { Said, Working } from '../ui/said.js';
import { Ago, Until } from '../ui/time.js';
import { ForkForm, LabelsForm, LimitsForm, TimersForm } from './dialogs.js';

function Sheet({ id, title, side, children }) {
  return html`<section class="sheet" aria-labelledby=${id}>
    <header><h2 id=${id}>${title}</h2>${side}</header>
    <div class="body">${children}</div>
  </section>`;
}

function Asked({ ask, words, children }) {
  if (ask.problem) return html`<${Said} problem=${ask.problem} again=${ask.again} />`;
  if (!ask.data) return html`<${Working}>${words}</${Working}>`;
  return children(ask.data);
}

// A resumed session is the one that it was: its names stay.
const without = (fresh, key) =>
  fresh.includes('clock') && (key === 'hostname' || key === 'machine-id') ? 'kept: it is the same session' : 'not confirmed';

export function FreshSheet({ session }) {
  const { fresh, source, guest } = session;
  return html`<${Sheet} id="fresh-title" title="Made fresh">
    ${guest
      ? html`<p class="dim">
          It came from ${SOURCES[source] ?? 'a process'}, <${Ago} time=${guest.since} /> ago. Before it was handed over, its
          guest confirmed:
        </p>`
      : html`<p class="dim">Asleep. When it wakes, these are seen to:</p>`}
    <ul class="fresh">
      ${Object.entries(FRESH).map(([key, [word, text]]) => {
        const has = guest && fresh.includes(key);
        return html`<li class=${has ? 'has' : ''}>
          <span aria-hidden="true">${has ? '✓' : '–'}</span> <b>${word}</b>${' '}
          <span class="dim">${guest && !has ? without(fresh, key) : text}</span>
        </li>`;
      })}
    </ul>
  </${Sheet}>`;
}

const EDIT = ({ form, session, label }) => html`<button
  type="button"
  class="link"
  aria-label=${label}
  onClick=${() => openDialog(form, { session })}
>
  Change
</button>`;

const LIMITS = [
  ['cpus', 'Processors', (n) => String(n)],
  ['memory_bytes', 'Memory', bytes],
  ['pids', 'Processes', String],
  ['nofile', 'Open files', String],
  ['io_bytes_per_s', 'Disk, each second', bytes],
  ['net_bytes_per_s', 'Network, each second', bytes],
];

function Limits({ limits }) {
  const set = LIMITS.filter(([key]) => limits[key] !== null);
  return html`${set.length === 0
      ? html`<p class="dim">None of its own.</p>`
      : html`<dl class="facts">${set.map(([key, word, say]) => html`<dt>${word}</dt><dd>${say(limits[key])}</dd>`)}</dl>`}
    ${limits.unenforced.length > 0 &&
    html`<div class="unenforced">
      <p>This host can’t enforce:</p>
      <ul>
        ${limits.unenforced.map((text) => html`<li class="dim">${text}</li>`)}
      </ul>
    </div>`}`;
}

export function FactsSheet({ session }) {
  const { timers, limits, labels, env, guest } = session;
  const names = Object.entries(labels);
  const variables = Object.entries(env);
  return html`<section class="sheet" aria-labelledby="facts-title">
    <header><h2 id="facts-title">Settings</h2></header>
    <div class="body stack">
      <div>
        <h3>Timers <${EDIT} form=${TimersForm} session=${session} label="Change timers" /></h3>
        <dl class="facts">
          <dt>Parks when idle for</dt>
          <dd>${timer(timers.idle_s)}</dd>
          <dt>Destroyed after</dt>
          <dd>
            ${timer(timers.ttl_s)}${timers.expires &&
            html` <span class="dim">(in <${Until} time=${timers.expires} long />)</span>`}
          </dd>
          <dt>Kept parked for</dt>
          <dd>${timer(timers.retention_s)}</dd>
        </dl>
      </div>
      <div>
        <h3>Limits <${EDIT} form=${LimitsForm} session=${session} label="Change limits" /></h3>
        <${Limits} limits=${limits} />
      </div>
      <div>
        <h3>Labels <${EDIT} form=${LabelsForm} session=${session} label="Change labels" /></h3>
        ${names.length === 0
          ? html`<p class="dim">None.</p>`
          : html`<p class="labels">${names.map(([key, value]) => html`<span class="label">${key}=${value}</span>`)}</p>`}
      </div>
      ${variables.length > 0 &&
      html`<div>
        <h3>Environment</h3>
        <ul class="mono">${variables.map(([key, value]) => html`<li>${key}=${value}</li>`)}</ul>
      </div>`}
      <div>
        <h3>Guest</h3>
        <dl class="facts">
          <dt>Template</dt>
          <dd>${session.template}</dd>
          <dt>Tenant</dt>
          <dd>${session.tenant}</dd>
          ${guest && html`<dt>Memory</dt><dd>${bytes(guest.memory_bytes)}</dd><dt>Processors</dt><dd>${guest.vcpus}</dd>`}
          <dt>Created</dt>
          <dd>${fullTime(session.created)}</dd>
          ${session.restores > 0 &&
          html`<dt>Put back</dt><dd>${session.restores} times to its last park, because its guest had died</dd>`}
        </dl>
      </div>
    </div>
  </section>`;
}

function RemoveForm({ session, name }) {
  return html`<${Form}
    title="Remove checkpoint ${name}?"
    lead="Its file is gone for good. ${session.name} and forks of it stay."
    action="Remove ${name}"
    working="Removing …"
    danger
    act=${() => remove(sessionPath(session.id, `/images/${encodeURIComponent(name)}`))}
  />`;
}

function Checkpoints({ session, nodes }) {
  const own = nodes.filter(({ kind, session: of }) => kind === 'checkpoint' && of === session.id);
  if (own.length === 0) return null;
  return html`<div>
    <h3>Its checkpoints</h3>
    <ul class="stack-small">
      ${own.map(
        ({ name, bytes: size }) => html`<li class="checkpoint">
          <span><b>${name}</b> <span class="dim">${bytes(size)}</span></span>
          <span class="buttons">
            <button
              type="button"
              class="button"
              onClick=${() => openDialog(ForkForm, { session, checkpoints: own, image: name })}
            >
              Fork from ${name} …
            </button>
            <button
              type="button"
              class="button quiet"
              onClick=${() => openDialog(RemoveForm, { session, name })}
            >
              Remove ${name} …
            </button>
          </span>
        </li>`,
      )}
    </ul>
  </div>`;
}

export function FamilySheet({ session, lineage }) {
  return html`<${Sheet} id="family-title" title="Family: parks, checkpoints and forks">
    <${Asked} ask=${lineage} words="Reading where it comes from">
      ${(data) => html`<div class="stack">
        <${Family} lineage=${data} here=${session.id} states=${(id) => sessions.get(id)?.state} />
        ${data.nodes.length === 1 &&
        html`<p class="dim">Nothing came of it yet. A checkpoint keeps a moment; a fork goes another way from one.</p>`}
        <${Checkpoints} session=${session} nodes=${data.nodes} />
      </div>`}
    </${Asked}>
  </${Sheet}>`;
}

export function AuditSheet({ audit }) {
  return html`<${Sheet} id="audit-title" title="Audit trail">
    <${Asked} ask=${audit} words="Reading the audit log">
      ${({ entries }) =>
        entries.length === 0 ? html`<p class="dim">Nothing is recorded of it.</p>` : html`<${Audit} entries=${entries} />`}
    </${Asked}>
  </${Sheet}>`;
}
