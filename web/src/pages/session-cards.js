// SPDX-License-Identifier: Apache-2.0
// Sessions to look at one by one, and to use on a narrow screen.
import { Component } from 'preact';
import { useMemo, useRef } from 'preact/hooks';
import { html } from '../lib/html.js';
import { useWidth, useWindow } from '../lib/window.js';
import { Memory } from '../ui/memory.js';
import { State } from '../ui/state.js';
import { Ago } from '../ui/time.js';
import { Actions, Due, Image, LastUse, Name, Outcome } from './cells.js';

const CARD_REM = 14; // with the gap below it; see .cards
const LEAST_REM = 18;
const GAP_REM = 0.75;

class Card extends Component {
  shouldComponentUpdate({ session, marked, at }) {
    return session !== this.props.session || marked !== this.props.marked || at !== this.props.at;
  }

  render({ session, marked, onMark, at, total }) {
    return html`<li
      class="card ${marked ? 'marked' : ''}"
      data-id=${session.id}
      data-state=${session.state}
      data-event=${session.event}
      aria-posinset=${at + 1}
      aria-setsize=${total}
    >
      <div class="card-head">
        <${Name} session=${session} />
        <input
          type="checkbox"
          aria-label="Select ${session.name}"
          checked=${marked}
          onChange=${() => onMark(session.id)}
        />
      </div>
      <div class="card-state"><${State} state=${session.state} /><${Outcome} session=${session} /></div>
      <${Memory} session=${session} />
      <dl class="card-facts">
        <div><dt>Image</dt><dd><${Image} session=${session} /></dd></div>
        <div><dt>Last used</dt><dd><${LastUse} session=${session} /></dd></div>
        <div><dt>Age</dt><dd><${Ago} time=${session.created} /></dd></div>
      </dl>
      <div class="card-foot"><${Due} session=${session} /><${Actions} session=${session} /></div>
    </li>`;
  }
}

export function SessionCards({ shown, marked, onMark }) {
  const list = useRef();
  const width = useWidth(list);
  const rem = useMemo(() => parseFloat(getComputedStyle(document.documentElement).fontSize), []);
  const columns = Math.max(1, Math.floor((width + GAP_REM * rem) / ((LEAST_REM + GAP_REM) * rem)));
  const rows = Math.ceil(shown.length / columns);
  const height = CARD_REM * rem;
  const [first, end] = useWindow(list, rows, height);
  const style = {
    height: `${rows * height}px`,
    paddingTop: `${first * height}px`,
    gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))`,
  };
  return html`<ul class="cards" aria-label="Sessions" ref=${list} style=${style}>
    ${width > 0 &&
    shown
      .slice(first * columns, end * columns)
      .map(
        (session, i) =>
          html`<${Card}
            key=${session.id}
            session=${session}
            at=${first * columns + i}
            total=${shown.length}
            marked=${marked.has(session.id)}
            onMark=${onMark}
          />`,
      )}
  </ul>`;
}
