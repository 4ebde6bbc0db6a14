// SPDX-License-Identifier: Apache-2.0
// Sessions to compare: a table whose rows are equally high, of which those are there that can be seen.
// Roles are said, since the style sheet lays it out as what is no table (see .sessions).
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
  return html`<thead role="rowgroup">
    <tr role="row" aria-rowindex="1">
      <th class="c-check" scope="col" role="columnheader">
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
          role="columnheader"
          class="c-${key}"
          aria-sort=${by === key ? (down ? 'descending' : 'ascending') : undefined}
        >
          <button type="button" class="sort" onClick=${() => turn(key)}>
            ${word}<span class="sort-mark">${by === key && html`<${Icon} name=${down ? 'down' : 'up'} />`}</span>
          </button>
        </th>`,
      )}
      <th scope="col" role="columnheader" class="c-actions"><span class="unseen">Actions</span></th>
    </tr>
  </thead>`;
}

// Drawn again only when its session is another object, or its mark changes.
class Row extends Component {
  shouldComponentUpdate({ session, marked, at }) {
    return session !== this.props.session || marked !== this.props.marked || at !== this.props.at;
  }

  render({ session, marked, onMark, at, height }) {
    return html`<tr
      role="row"
      class="row ${marked ? 'marked' : ''}"
      style=${{ transform: `translateY(${at * height}px)` }}
      aria-rowindex=${at + 2}
      data-id=${session.id}
      data-state=${session.state}
      data-event=${session.event}
    >
      <td role="cell" class="c-check">
        <input
          type="checkbox"
          aria-label="Select ${session.name}"
          checked=${marked}
          onChange=${() => onMark(session.id)}
        />
      </td>
      <th class="c-name" scope="row" role="rowheader"><${Name} session=${session} /></th>
      <td role="cell" class="c-state">
        <span class="two"><${State} state=${session.state} /><${Outcome} session=${session} /></span>
      </td>
      <td role="cell" class="c-template">${session.template}</td>
      <td role="cell" class="c-memory"><${Memory} session=${session} /></td>
      <td role="cell" class="c-image"><${Image} session=${session} /></td>
      <td role="cell" class="c-active">
        <span class="two"><span><${LastUse} session=${session} /> ago</span><${Due} session=${session} /></span>
      </td>
      <td role="cell" class="c-created"><${Ago} time=${session.created} /></td>
      <td role="cell" class="c-actions"><${Actions} session=${session} /></td>
    </tr>`;
  }
}

export function SessionTable({ shown, marked, onMark, onAll, query }) {
  const body = useRef();
  const height = useMemo(() => parseFloat(getComputedStyle(document.documentElement).fontSize) * ROW_REM, []);
  const [first, end] = useWindow(body, shown.length, height);
  const count = shown.reduce((n, { id }) => n + marked.has(id), 0);
  return html`<table class="sessions" role="table" aria-label="Sessions" aria-rowcount=${shown.length + 1}>
    <${Head}
      sort=${query.sort || DEFAULT_SORT}
      all=${count > 0 && count === shown.length}
      some=${count > 0}
      onAll=${onAll}
    />
    <tbody role="rowgroup" ref=${body} style=${{ height: `${shown.length * height}px` }}>
      ${shown
        .slice(first, end)
        .map(
          (session, i) =>
            html`<${Row}
              key=${session.id}
              session=${session}
              at=${first + i}
              height=${height}
              marked=${marked.has(session.id)}
              onMark=${onMark}
            />`,
        )}
    </tbody>
  </table>`;
}
