// SPDX-License-Identifier: Apache-2.0
// A session's states over time, as a strip; and the same as a list.
import { fullTime, span, when } from '../lib/format.js';
import { html } from '../lib/html.js';
import { stateOf } from '../lib/states.js';
import { State } from './state.js';

const WIDE = 1000;
const LEAST = 3; // so that a park of milliseconds can be seen

function lookOf(state) {
  const { look, moving } = stateOf(state);
  if (moving) return 'moving';
  return state === 'paused' ? 'still' : look;
}

// [{state, reason, from, to}], ms
export function pieces({ states, from, now }) {
  const begin = Date.parse(from);
  const end = Date.parse(now);
  return states
    .map(({ at, state, reason }, i) => ({
      state,
      reason,
      from: Math.max(begin, Date.parse(at)),
      to: i + 1 < states.length ? Date.parse(states[i + 1].at) : end,
    }))
    .filter(({ to }) => to >= begin);
}

export function Strip({ history, windowMs }) {
  const end = Date.parse(history.now);
  const begin = end - windowMs;
  const all = pieces(history);
  const x = (t) => ((Math.max(t, begin) - begin) / windowMs) * WIDE;
  // What passes is drawn last, over its neighbours.
  const drawn = [...all].sort((a, b) => (lookOf(a.state) === 'moving') - (lookOf(b.state) === 'moving'));
  const summary = all.map(({ state, from, to }) => `${stateOf(state).word} for ${span((to - from) / 1000)}`);
  return html`<div>
    <svg
      class="strip"
      viewBox="0 0 ${WIDE} 28"
      preserveAspectRatio="none"
      role="img"
      aria-label=${summary.slice(-6).join(', then ')}
    >
      ${drawn.map(
        ({ state, from, to }) => html`<rect
          class=${lookOf(state)}
          x=${x(from)}
          y=${lookOf(state) === 'cold' ? 14 : 0}
          width=${Math.max(LEAST, x(to) - x(from))}
          height=${lookOf(state) === 'moving' || lookOf(state) === 'bad' ? 28 : 14}
        >
          <title>${stateOf(state).word}, from ${fullTime(from)}, for ${span((to - from) / 1000)}</title>
        </rect>`,
      )}
    </svg>
    <div class="axis" aria-hidden="true"><span>${when(begin)}</span><span>now</span></div>
  </div>`;
}

export function StateList({ history }) {
  return html`<div class="scroll-x" tabindex="0" role="region" aria-label="States">
    <table class="list">
      <thead>
        <tr><th scope="col">From</th><th scope="col">State</th><th scope="col">For</th><th scope="col">Why</th></tr>
      </thead>
      <tbody>
        ${pieces(history)
          .reverse()
          .slice(0, 30)
          .map(
            ({ state, reason, from, to }) => html`<tr>
              <td>${when(from)}</td>
              <td><${State} state=${state} /></td>
              <td>${to - from < 1000 ? `${to - from} ms` : span((to - from) / 1000)}</td>
              <td>${reason}</td>
            </tr>`,
          )}
      </tbody>
    </table>
  </div>`;
}
