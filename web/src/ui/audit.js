// SPDX-License-Identifier: Apache-2.0
// What was done, by whom, as the audit log has it.
import { fullTime, when } from '../lib/format.js';
import { html } from '../lib/html.js';

const brief = (value) => (typeof value === 'object' ? JSON.stringify(value) : String(value));

// Who that was: "peer" is the UNIX socket's word.
const person = (actor) => actor?.replace(/^peer (\d+)$/, 'user $1 of the host');

function Detail({ detail }) {
  if (!detail) return null;
  return html`<span class="dim">
    ${Object.entries(detail)
      .map(([key, value]) => `${key} ${brief(value)}`)
      .join(', ')}
  </span>`;
}

export function Audit({ entries, withObject }) {
  return html`<div class="scroll-x" tabindex="0" role="region" aria-label="Entries of the audit log">
    <table class="list">
      <thead>
        <tr>
          <th scope="col">When</th>
          <th scope="col">What</th>
          ${withObject && html`<th scope="col">On</th>`}
          <th scope="col">By</th>
          <th scope="col">Outcome</th>
          <th scope="col">Detail</th>
        </tr>
      </thead>
      <tbody>
        ${entries.map(
          ({ seq, time, op, object, actor, outcome, detail }) => html`<tr key=${seq}>
            <td><time datetime=${time} title=${fullTime(time)}>${when(time)}</time></td>
            <td>${op}</td>
            ${withObject && html`<td class="mono">${object}</td>`}
            <td>${person(actor)}</td>
            <td class=${outcome === 'ok' ? '' : 'failed'}>${outcome}</td>
            <td><${Detail} detail=${detail} /></td>
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}
