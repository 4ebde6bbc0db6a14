// SPDX-License-Identifier: Apache-2.0
// A session over time: its states as a strip, processor and memory as plots, what was done as a list.
import { useMemo, useState } from 'preact/hooks';
import { get, sessionPath } from '../lib/api.js';
import { bytes, ms, percent, when } from '../lib/format.js';
import { useAsk, useEvery } from '../lib/hooks.js';
import { html } from '../lib/html.js';
import { Plot } from '../ui/plot.js';
import { Said } from '../ui/said.js';
import { StateList, Strip } from '../ui/strip.js';
import { spanOf, WindowChoice, WINDOWS } from '../ui/window-choice.js';

const CPU = [{ label: '', color: '--ember', fill: '--ember-wash' }];
const MEMORY = [
  { label: 'own', color: '--ember', fill: '--ember-wash' },
  { label: 'shared', color: '--ink-3', dash: [4, 3] },
];
const OPS = { create: 'Start', fork: 'Fork', park: 'Park', resume: 'Resume', checkpoint: 'Checkpoint' };
const NONE = { at: [], cpu_percent: [], private_bytes: [], shared_bytes: [] };

const later = (a, b) => (a > b ? a : b); // RFC 3339 in UTC

function Operations({ operations }) {
  if (operations.length === 0) return null;
  return html`<div class="scroll-x" tabindex="0" role="region" aria-label="What was done">
    <table class="list">
      <thead>
        <tr>
          <th scope="col">When</th>
          <th scope="col">What</th>
          <th scope="col" class="number">Took</th>
          <th scope="col" class="number">Image</th>
          <th scope="col">From</th>
        </tr>
      </thead>
      <tbody>
        ${[...operations]
          .reverse()
          .slice(0, 12)
          .map(
            ({ at, op, took_ms: took, image_bytes: size, source, name }) => html`<tr>
              <td>${when(at)}</td>
              <td>${OPS[op] ?? op}${name ? ` ${name}` : ''}</td>
              <td class="number">${ms(took)}</td>
              <td class="number">${size === null ? '' : bytes(size)}</td>
              <td>${source}</td>
            </tr>`,
          )}
      </tbody>
    </table>
  </div>`;
}

export function OverTime({ session }) {
  const { id } = session;
  const [window, setWindow] = useState('hour');
  const { data, problem, again } = useAsk(
    () => get(sessionPath(id, `/history?window=${window}`)),
    [id, window, session.state, session.changed],
  );
  useEvery(window === 'hour' ? 5000 : 60000, again);
  const samples = data?.samples ?? NONE;
  const xs = useMemo(() => samples.at.map((at) => at / 1000), [data]);
  const cpu = useMemo(() => [xs, samples.cpu_percent.map((n) => (n === null ? null : n / 100))], [data]);
  const memory = useMemo(() => [xs, samples.private_bytes, samples.shared_bytes], [data]);
  const to = data ? Date.parse(data.now) / 1000 : Date.now() / 1000;
  const seconds = data ? spanOf(window, data.now, later(data.from, session.created)) : WINDOWS[window].seconds;
  const from = to - seconds;
  const shared = { from, to, gapSeconds: (data?.step_s ?? 5) * 2.5 };
  const asleep = session.guest
    ? 'Nothing was measured yet: the first figures come within seconds.'
    : 'Asleep: nothing to measure.';

  return html`<section class="sheet" aria-labelledby="time-title">
    <header>
      <h2 id="time-title">Over time</h2>
      <${WindowChoice} value=${window} onChange=${setWindow} />
    </header>
    <div class="body stack">
      ${problem && html`<${Said} problem=${problem} />`}
      ${data
        ? html`<${Strip} history=${data} windowMs=${seconds * 1000} />`
        : html`<div class="strip-room dim">Reading its history …</div>`}
      <p class="keys"><span class="key warm">awake</span><span class="key cold">asleep</span></p>
      <${Plot} title="Processor" data=${cpu} series=${CPU} format=${percent} most=${0.1} empty=${asleep} ...${shared} />
      <${Plot} title="Memory" data=${memory} series=${MEMORY} format=${bytes} most=${1 << 22} empty=${asleep} ...${shared} />
      ${data && html`<${Operations} operations=${data.operations} />`}
      ${data && html`<details><summary>States as a list</summary><${StateList} history=${data} /></details>`}
    </div>
  </section>`;
}
