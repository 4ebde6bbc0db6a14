// SPDX-License-Identifier: Apache-2.0
// How much memory a session has to itself, and how much it shares with its template, of what its
// guest believes to have. Asleep it has none.
import { useItem } from '../lib/collection.js';
import { usage } from '../lib/data.js';
import { bytes, percent } from '../lib/format.js';
import { html } from '../lib/html.js';

const width = (part, whole) => ({ width: `${Math.min(100, (part / whole) * 100)}%` });

export function Bar({ parts, whole, tall }) {
  return html`<span class="bar ${tall ? 'tall' : ''}" aria-hidden="true">
    ${parts.map(([look, part]) => part > 0 && html`<span class=${look} style=${width(part, whole)}></span>`)}
  </span>`;
}

export function Memory({ session }) {
  const used = useItem(usage, session.id);
  if (!session.guest)
    return html`<span class="memory"><span class="dim">none</span><${Bar} parts=${[]} whole=${1} /></span>`;
  const ram = session.guest.memory_bytes;
  if (!used)
    return html`<span class="memory">
      <span class="dim">not measured yet</span><${Bar} parts=${[]} whole=${ram} />
    </span>`;
  const title = `${bytes(used.private)} of its own and ${bytes(used.shared)} shared with its template, of ${bytes(ram)}`;
  return html`<span class="memory" title=${title}>
    <span>${bytes(used.private)} <span class="dim">+ ${bytes(used.shared)} shared</span></span>
    <${Bar}
      parts=${[
        ['warm', used.private],
        ['shared', used.shared],
      ]}
      whole=${ram}
    />
  </span>`;
}

export function Cpu({ id }) {
  const used = useItem(usage, id);
  return used && used.cpu !== null ? percent(used.cpu / 100) : '–';
}
