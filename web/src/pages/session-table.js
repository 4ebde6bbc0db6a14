// SPDX-License-Identifier: Apache-2.0
// Sessions to compare: a table whose rows are equally high, of which those are there that can be seen.
import { Component } from 'preact';
import { useMemo, useRef } from 'preact/hooks';
import { html } from '../lib/html.js';
import { setQuery } from '../lib/router.js';
import { DEFAULT_SORT } from '../lib/choose.js';
import { useWindow } from '../lib/window.js';
import { Icon } from '../ui/icons.js';
import { Memory } from '../ui/memory.js';
import { State } from '../ui/state.js';
import { Ago } from '../ui/time.js';
import { Actions, Due, Image, LastUse, Name, Outcome } from './cells.js';

const ROW_REM = 3.25; // --row

const COLUMNS = [
  ['name', 'Session'],
  ['state', 'State'],
  ['template', 'Template'],
  ['memory', 'Memory'],
  ['image', 'Image'],
  ['active', 'Last used'],
  ['created', 'Age'],
];

function Head({ sort, all, some, onAll }) {
  const down = sort.startsWith('-');
  const by = down ? sort.slice(1) : sort;
  const turn = (key) => setQuery({ sort: by === key && !down ? `-${key}` : key }, false);
  return html`<thead>
    <tr>
      <th class="c-check" scope="col">
        <input
          type="checkbox"
          aria-label="Select all that are shown"
          checked=${all}
          indeterminate=${some && !all}
          onChange=${onAll}
        />
      </th>
      ${COLUMNS.map(
        ([key, word]) => html`<th
          scope="col"
          class="c-${key}"
          aria-sort=${by === key ? (down ? 'descending' : 'ascending') : undefined}
        >
          <button type="button" class="sort" onClick=${() => turn(key)}>
            ${word}<span class="sort-mark">${by === key && html`<${Icon} name=${down ? 'down' : 'up'} />`}</span>
          </button>
        </th>`,
      )}
      <th scope="col" class="c-actions"><span class="unseen">Actions</span></th>
    </tr>
  </thead>`;
}

// Drawn again only when its session is another object, or its mark changes.
class Row extends Component {
  shouldComponentUpdate({ session, marked, at }) {
    return session !== this.props.session || marked !== this.props.marked || at !== this.props.at;
  }

  render({ session, marked, onMark, at }) {
    return html`<tr
      class=${marked ? 'marked' : ''}
      aria-rowindex=${at + 2}
      data-id=${session.id}
      data-state=${session.state}
      data-event=${session.event}
    >
      <td class="c-check">
        <input
          type="checkbox"
          aria-label="Select ${session.name}"
          checked=${marked}
          onChange=${() => onMark(session.id)}
        />
      </td>
      <th class="c-name" scope="row"><${Name} session=${session} /></th>
      <td class="c-state">
        <span class="two"><${State} state=${session.state} /><${Outcome} session=${session} /></span>
      </td>
      <td class="c-template">${session.template}</td>
      <td class="c-memory"><${Memory} session=${session} /></td>
      <td class="c-image"><${Image} session=${session} /></td>
      <td class="c-active">
        <span class="two"><span><${LastUse} session=${session} /> ago</span><${Due} session=${session} /></span>
      </td>
      <td class="c-created"><${Ago} time=${session.created} /></td>
      <td class="c-actions"><${Actions} session=${session} /></td>
    </tr>`;
  }
}

const gap = (rows, height) =>
  html`<tr class="gap" aria-hidden="true"><td colspan="9" style=${{ height: `${rows * height}px` }}></td></tr>`;

export function SessionTable({ shown, marked, onMark, onAll, query }) {
  const body = useRef();
  const height = useMemo(() => parseFloat(getComputedStyle(document.documentElement).fontSize) * ROW_REM, []);
  const [first, end] = useWindow(body, shown.length, height);
  const count = shown.reduce((n, { id }) => n + marked.has(id), 0);
  return html`<table class="sessions" aria-label="Sessions" aria-rowcount=${shown.length + 1}>
    <${Head}
      sort=${query.sort || DEFAULT_SORT}
      all=${count > 0 && count === shown.length}
      some=${count > 0}
      onAll=${onAll}
    />
    <tbody ref=${body}>
      ${first > 0 && gap(first, height)}
      ${shown
        .slice(first, end)
        .map(
          (session, i) =>
            html`<${Row}
              key=${session.id}
              session=${session}
              at=${first + i}
              marked=${marked.has(session.id)}
              onMark=${onMark}
            />`,
        )}
      ${end < shown.length && gap(shown.length - end, height)}
    </tbody>
  </table>`;
}
