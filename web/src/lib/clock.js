// SPDX-License-Identifier: Apache-2.0
// The host's time, and a tick each second for all that shows ages.
import { cell } from './cell.js';

let ahead = 0; // of the browser's clock, ms

// From an answer's Date, which has whole seconds: less than two is no difference.
export function noteHostTime(date) {
  const host = Date.parse(date);
  if (Number.isNaN(host)) return;
  const off = host - Date.now();
  ahead = Math.abs(off) > 2000 ? off : 0;
}

export const now = () => Date.now() + ahead;

export const tick = cell(Math.floor(now() / 1000));
setInterval(() => tick.set(Math.floor(now() / 1000)), 1000);
