// SPDX-License-Identifier: Apache-2.0
// All sessions: found, compared, put to sleep and woken.
import { useCallback, useEffect, useMemo, useState } from 'preact/hooks';
import { useCell } from '../lib/cell.js';
import { choose, DEFAULT_SORT, ORDERS, sum } from '../lib/choose.js';
import { host, loaded, self, sessions, templates, tenant, usage } from '../lib/data.js';
import { bytes, count } from '../lib/format.js';
import { useTitle } from '../lib/hooks.js';
import { html } from '../lib/html.js';
import { route, setQuery } from '../lib/router.js';
import { GROUPS } from '../lib/states.js';
import { openDialog } from '../ui/dialog.js';
import { Working } from '../ui/said.js';
import { BulkBar } from './bulk.js';
import { SessionCards } from './session-cards.js';
import { SessionTable } from './session-table.js';
import { StartForm } from './start.js';

const narrow = matchMedia('(max-width: 52rem)');

function useNarrow() {
  const [is, set] = useState(narrow.matches);
  useEffect(() => {
    const hear = () => set(narrow.matches);
    narrow.addEventListener('change', hear);
    return () => narrow.removeEventListener('change', hear);
  }, []);
  return is;
}

function Figures({ sums }) {
  const all = useCell(host);
  const who = useCell(self);
  return html`<dl class="figures top-figures">
    <div>
      <dt>Awake</dt>
      <dd>${sums.awake}<small>${bytes(sums.memory)} of memory of their own</small></dd>
    </div>
    <div>
      <dt>Asleep</dt>
      <dd>${sums.asleep}<small>no memory; ${bytes(sums.images)} of files</small></dd>
    </div>
    ${who.admin &&
    html`<div>
        <dt>Host memory available</dt>
        <dd>${bytes(all?.available_bytes)}<small>${all ? `of ${bytes(all.total_bytes)}` : 'not measured yet'}</small></dd>
      </div>
      <div>
        <dt>Saved by parking</dt>
        <dd>${bytes(all?.saved_bytes)}<small>of memory, all tenants’</small></dd>
      </div>`}
  </dl>`;
}

function Tools({ query, sums, view, isNarrow }) {
  const names = [...templates.keys()].sort();
  return html`<div class="tools" role="search" aria-label="Find sessions">
    <input
      class="input search"
      type="search"
      placeholder="Name, id or label"
      aria-label="Search by name, id, template or label"
      value=${query.q ?? ''}
      onInput=${({ target }) => setQuery({ q: target.value })}
    />
    <div class="choices" role="group" aria-label="State">
      ${GROUPS.map(
        ([key, word]) => html`<button
          type="button"
          aria-pressed=${(query.state ?? '') === key}
          onClick=${() => setQuery({ state: key }, true)}
        >
          ${word}<span class="count">${sums[key]}</span>
        </button>`,
      )}
    </div>
    ${(names.length > 1 || query.template) &&
    html`<select
      class="input narrow"
      aria-label="Template"
      value=${query.template ?? ''}
      onChange=${({ target }) => setQuery({ template: target.value }, true)}
    >
      <option value="">All templates</option>
      ${names.map((name) => html`<option value=${name}>${name}</option>`)}
    </select>`}
    ${view === 'cards' &&
    html`<select
      class="input narrow"
      aria-label="Order"
      value=${query.sort || DEFAULT_SORT}
      onChange=${({ target }) => setQuery({ sort: target.value })}
    >
      ${ORDERS.map(([key, word]) => html`<option value=${key}>${word}</option>`)}
    </select>`}
    ${!isNarrow &&
    html`<div class="choices" role="group" aria-label="Show as">
      ${[
        ['', 'Table'],
        ['cards', 'Cards'],
      ].map(
        ([key, word]) => html`<button
          type="button"
          aria-pressed=${(query.view ?? '') === key}
          onClick=${() => setQuery({ view: key })}
        >
          ${word}
        </button>`,
      )}
    </div>`}
  </div>`;
}

function NoneYet() {
  const who = useCell(self);
  const first = [...templates.values()].find(({ state }) => state !== 'building');
  if (!first)
    return html`<div class="empty">
      <h2>There is no template yet</h2>
      <p>A session is a copy of a guest that was booted once: its template.</p>
      ${who.admin
        ? html`<p>Build one under Admin, or with <code>torpor template build</code> on the host.</p>`
        : html`<p>Whoever runs this host builds one with <code>torpor template build</code>.</p>`}
    </div>`;
  return html`<div class="empty">
    <h2>No sessions yet</h2>
    <p>
      Start one: it is there in some milliseconds, a guest of its own that you can run commands in. When you don’t need
      it, park it: it becomes a small file, and gives its memory back.
    </p>
    <button type="button" class="button main" onClick=${() => openDialog(StartForm, {})}>Start a session</button>
  </div>`;
}

function NothingFound({ query }) {
  const clear = () => setQuery({ q: '', state: '', template: '' }, true);
  return html`<div class="empty">
    <h2>No session is like that</h2>
    <p>${query.q ? html`Nothing has “${query.q}” in its name, id, template or labels.` : 'None is in this state.'}</p>
    <button type="button" class="button" onClick=${clear}>Show all</button>
  </div>`;
}

export function SessionsPage() {
  const { query } = useCell(route);
  const { state, more } = useCell(loaded);
  const version = useCell(sessions.version);
  const sorted = query.sort?.replace('-', '');
  const figures = useCell(usage.version);
  useCell(templates.version);
  const isNarrow = useNarrow();
  const [marked, setMarked] = useState(new Set());
  useTitle('Sessions');

  const view = isNarrow ? 'cards' : (query.view ?? '') === 'cards' ? 'cards' : 'table';
  const moved = sorted === 'memory' || sorted === 'active' ? figures : 0;
  const shown = useMemo(() => choose(sessions.values(), query), [version, query, moved]);
  const sums = useMemo(() => sum(sessions.values()), [version, figures]);

  const onMark = useCallback(
    (id) =>
      setMarked((old) => {
        const next = new Set(old);
        if (!next.delete(id)) next.add(id);
        return next;
      }),
    [],
  );
  const onAll = useCallback(
    ({ target }) => setMarked(target.checked ? new Set(shown.map(({ id }) => id)) : new Set()),
    [shown],
  );
  const chosen = useMemo(() => [...marked].map((id) => sessions.get(id)).filter(Boolean), [marked, version]);
  const list = { shown, marked, onMark, onAll, query };

  return html`<div class="page-head">
      <h1>Sessions</h1>
      <button type="button" class="button main" onClick=${() => openDialog(StartForm, {})}>Start a session</button>
    </div>
    <${Figures} sums=${sums} />
    <${Tools} query=${query} sums=${sums} view=${view} isNarrow=${isNarrow} />
    <p class="unseen" role="status">${count(shown.length, 'session')} shown</p>
    ${more && html`<p class="dim">Only the newest ${sessions.size} of ${tenant()}’s sessions are here.</p>`}
    <section class="session-list" aria-label="List of sessions" aria-busy=${state === 'loading'}>
      ${state === 'loading' && sessions.size === 0
        ? html`<div class="empty"><${Working}>Reading the list of sessions</${Working}></div>`
        : sessions.size === 0
          ? html`<${NoneYet} />`
          : shown.length === 0
            ? html`<${NothingFound} query=${query} />`
            : view === 'cards'
              ? html`<${SessionCards} ...${list} />`
              : html`<${SessionTable} ...${list} />`}
    </section>
    <${BulkBar} chosen=${chosen} clear=${() => setMarked(new Set())} />`;
}
