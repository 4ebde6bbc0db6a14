// SPDX-License-Identifier: Apache-2.0
// A session's state: a shape, a colour and a word. The shape and the word do without the colour.
import { html } from '../lib/html.js';
import { stateOf } from '../lib/states.js';

const moon = 'M10.6 9.3A4.9 4.9 0 0 1 4.7 3.4a4.9 4.9 0 1 0 5.9 5.9Z';
const SHAPES = {
  created: html`<circle cx="7" cy="7" r="4" fill="none" stroke="currentColor" stroke-width="1.6" />`,
  starting: html`<path d="M7 2.5 11 7H8.3v4.5H5.7V7H3Z" />`,
  running: html`<circle cx="7" cy="7" r="4.5" />`,
  paused: html`<path d="M3.5 3h2.6v8H3.5zM7.9 3h2.6v8H7.9z" />`,
  parking: html`<path d="M7 11.5 3 7h2.7V2.5h2.6V7H11Z" />`,
  parked: html`<path d=${moon} />`,
  resuming: html`<path d="M7 2.5 11 7H8.3v4.5H5.7V7H3Z" />`,
  stopping: html`<path d="m3.2 4.4 1.2-1.2L7 5.8l2.6-2.6 1.2 1.2L8.2 7l2.6 2.6-1.2 1.2L7 8.2l-2.6 2.6-1.2-1.2L5.8 7Z" />`,
  destroyed: html`<circle cx="7" cy="7" r="4" fill="none" stroke="currentColor" stroke-dasharray="2 2" />`,
  error: html`<path d="M7 1.8 13 12H1Zm-.8 4v3h1.6v-3Zm0 3.8v1.4h1.6V9.6Z" fill-rule="evenodd" />`,
};

export function StateShape({ state, size = 14 }) {
  return html`<svg viewBox="0 0 14 14" width=${size} height=${size} fill="currentColor" aria-hidden="true">
    ${SHAPES[state] ?? SHAPES.created}
  </svg>`;
}

export function State({ state, size }) {
  const { word, look, moving } = stateOf(state);
  return html`<span class="state ${look} ${moving ? 'moving' : ''}">
    <${StateShape} state=${state} size=${size} />${word}
  </span>`;
}
