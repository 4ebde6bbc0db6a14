// SPDX-License-Identifier: Apache-2.0
// Whether what is shown is what is.
import { useEffect, useState } from 'preact/hooks';
import { useCell } from '../lib/cell.js';
import { html } from '../lib/html.js';
import { link } from '../lib/live.js';
import { Ago } from './time.js';

const PATIENCE_MS = 1500; // shorter gaps aren't worth a word

export function LiveState() {
  const { state, since } = useCell(link);
  const [lost, setLost] = useState(null); // since when
  useEffect(() => {
    if (state === 'live') return setLost(null);
    if (lost) return undefined;
    const timer = setTimeout(() => setLost(since), PATIENCE_MS);
    return () => clearTimeout(timer);
  }, [state === 'live']);

  if (!lost)
    return html`<span class="live" role="status"><span class="live-dot" aria-hidden="true"></span>Live</span>`;
  return html`<span class="live stale" role="status">
    <span class="live-dot" aria-hidden="true"></span>Not live
    <span aria-hidden="true">for <${Ago} time=${new Date(lost).toISOString()} /></span>
  </span>`;
}
