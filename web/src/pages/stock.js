// SPDX-License-Identifier: Apache-2.0
// Per template: what waits against what should, and where claims were served from.
import { count, ms, percent } from '../lib/format.js';
import { html } from '../lib/html.js';
import { Bar } from '../ui/memory.js';

const PIPS = 12;

function Stock({ has, target, look, word }) {
  const dots = Math.max(has, target);
  return html`<span class="stock">
    ${dots <= PIPS &&
    Array.from(
      { length: dots },
      (_, i) => html`<span class="pip ${look} ${i < has ? 'full' : ''}" aria-hidden="true"></span>`,
    )}
    <span class="numbers"><b>${has}</b> of ${target}<span class="unseen"> ${word}</span></span>
  </span>`;
}

function Served({ served }) {
  const { warm, shell, spawn } = served;
  const all = warm + shell + spawn;
  if (all === 0) return html`<span class="dim">no claim yet</span>`;
  return html`<span class="served">
    <span>${warm} warm · ${shell} shell · ${spawn} new</span>
    <${Bar}
      parts=${[
        ['warm', warm],
        ['cold', shell],
        ['base', spawn],
      ]}
      whole=${all}
    />
  </span>`;
}

function Condition({ state, reason, failures, deaf }) {
  const troubles = [failures > 0 && count(failures, 'failed start'), deaf > 0 && `${deaf} deaf`].filter(Boolean);
  return html`${state === 'degraded'
      ? html`<b class="failed">Degraded</b><br /><span>${reason}</span>`
      : { ready: 'Ready', stored: 'Not in use', building: 'Being built' }[state]}
    ${troubles.length > 0 && html`<br /><span class="dim">${troubles.join(', ')}</span>`}`;
}

export function TemplateStock({ rows, admin }) {
  if (rows.length === 0)
    return html`<div class="empty">
      <h3>There is no template</h3>
      <p>
        Guests wait per template.
        ${admin ? ' Build one under Admin, or with ' : ' Whoever runs this host builds one with '}
        <code>torpor template build</code>.
      </p>
    </div>`;
  return html`<div class="scroll-x" tabindex="0" role="region" aria-label="Guests that wait, by template">
      <table class="list">
        <thead>
          <tr>
            <th scope="col">Template</th>
            <th scope="col">Condition</th>
            <th scope="col">Warm guests</th>
            <th scope="col">Shells</th>
            <th scope="col">Claims were served from</th>
            <th scope="col" class="number">Warm when possible</th>
            <th scope="col" class="number">A start takes</th>
          </tr>
        </thead>
        <tbody>
          ${rows.map(
            ({ name, state, reason, pool, served, hit_rate: hits, failures, deaf, start_ms: start }) => html`<tr key=${name}>
              <th scope="row"><b>${name}</b></th>
              <td><${Condition} state=${state} reason=${reason} failures=${failures} deaf=${deaf} /></td>
              <td>
                <${Stock} has=${pool.warm} target=${pool.warm_target} look="warm" word="warm guests wait" />
                ${pool.starting > 0 && html`<br /><span class="dim">${pool.starting} starting</span>`}
              </td>
              <td><${Stock} has=${pool.shells} target=${pool.shell_target} look="shell" word="shells wait" /></td>
              <td><${Served} served=${served} /></td>
              <td class="number">${hits === null ? html`<span class="dim">no claim yet</span>` : percent(hits)}</td>
              <td class="number">${start > 0 ? ms(start) : '–'}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
    <p class="body dim">
      A warm guest is claimed in milliseconds. A shell is a process without a guest, which a parked session is loaded
      into. How many wait follows demand.
    </p>`;
}
