// SPDX-License-Identifier: Apache-2.0
// The last hour, or the last day.
import { html } from '../lib/html.js';

export const WINDOWS = {
  hour: { word: 'Last hour', seconds: 3600 },
  day: { word: 'Last day', seconds: 86400 },
};

const LEAST = 120;

// What an axis spans, in seconds: the window, or less where nothing is known of most of it.
export function spanOf(window, now, since) {
  return Math.min(WINDOWS[window].seconds, Math.max(LEAST, (Date.parse(now) - Date.parse(since)) / 1000));
}

export function WindowChoice({ value, onChange }) {
  return html`<div class="choices" role="group" aria-label="Over what time">
    ${Object.entries(WINDOWS).map(
      ([key, { word }]) => html`<button type="button" aria-pressed=${key === value} onClick=${() => onChange(key)}>
        ${word}
      </button>`,
    )}
  </div>`;
}
