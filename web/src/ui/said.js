// SPDX-License-Identifier: Apache-2.0
// What is said of an outcome: a problem in plain words with the server's own detail; and what is
// said to those who don't see.
import { cell, useCell } from '../lib/cell.js';
import { html } from '../lib/html.js';
import { Problem } from '../lib/problem.js';
import { Icon } from './icons.js';

const spoken = cell('');

// For screen readers; the same text twice is said twice.
export const speak = (text) => spoken.set(spoken.value === text ? `${text}\u00a0` : text);

export function Speaker() {
  return html`<p class="unseen" role="status" aria-live="polite">${useCell(spoken)}</p>`;
}

export function Said({ problem, what, onClose, again }) {
  const words = problem instanceof Problem ? problem.words : 'Something failed in this page.';
  return html`<div class="said bad" role="alert">
    <p class="said-title">
      <span>${what ? `${what}: ` : ''}${words}</span>
      ${onClose &&
      html`<button type="button" class="link" onClick=${onClose} aria-label="Dismiss">
        <${Icon} name="close" />
      </button>`}
    </p>
    <p class="detail">${problem.detail || problem.message}</p>
    ${problem.hint && html`<p>${problem.hint}</p>`}
    ${problem.retryAfter > 0 && html`<p>Try again in ${problem.retryAfter} s.</p>`}
    ${again && html`<p><button type="button" class="button" onClick=${again}>Try again</button></p>`}
  </div>`;
}

export function Working({ children }) {
  return html`<p class="working">${children}</p>`;
}
