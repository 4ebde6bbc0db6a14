// SPDX-License-Identifier: Apache-2.0
import { html } from '../lib/html.js';

const PATHS = {
  more: 'M4 8a1.3 1.3 0 1 1-2.6 0A1.3 1.3 0 0 1 4 8Zm5.3 0a1.3 1.3 0 1 1-2.6 0 1.3 1.3 0 0 1 2.6 0Zm5.3 0A1.3 1.3 0 1 1 12 8a1.3 1.3 0 0 1 2.6 0Z',
  up: 'M8 4.5 12 10H4Z',
  down: 'M8 11.5 4 6h8Z',
  close: 'm4.2 3.1 3.8 3.8 3.8-3.8 1.1 1.1L9.1 8l3.8 3.8-1.1 1.1L8 9.1l-3.8 3.8-1.1-1.1L6.9 8 3.1 4.2Z',
  pen: 'm11.4 2 2.6 2.6-7.8 7.8-3.3.7.7-3.3Z',
};

export function Icon({ name }) {
  return html`<svg viewBox="0 0 16 16" width="16" height="16" fill="currentColor" aria-hidden="true">
    <path d=${PATHS[name]} />
  </svg>`;
}

// The sign: something warm, curled up in something cold.
export function Mark({ size = 26 }) {
  return html`<svg viewBox="0 0 32 32" width=${size} height=${size} aria-hidden="true" class="mark">
    <path class="mark-cold" d="M26.6 20.6A12 12 0 1 1 13.2 4.3a9.4 9.4 0 0 0 13.4 16.3Z" />
    <circle class="mark-warm" cx="20.5" cy="12.5" r="5.2" />
  </svg>`;
}
