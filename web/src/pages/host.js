// SPDX-License-Identifier: Apache-2.0
// The host's memory: what sessions take of it, and what they would if none were parked.
import { useMemo } from 'preact/hooks';
import { bytes, count } from '../lib/format.js';
import { html } from '../lib/html.js';
import { Bar } from '../ui/memory.js';
import { Plot } from '../ui/plot.js';
import { Said, Working } from '../ui/said.js';
import { spanOf } from '../ui/window-choice.js';

const SERIES = [
  { label: 'with parking', color: '--ember', fill: '--ember-wash' },
  { label: 'all running', color: '--frost', dash: [5, 4] },
];
const OWN = [{ label: 'own memory', color: '--ember', fill: '--ember-wash' }];

const FROM = {
  parks: 'as much as each had when it was parked, on average',
  running: 'as much as those have that run, on average',
  charge: 'as much as a guest is reckoned with',
};

const PRESSURE = {
  none: 'No pressure.',
  less: 'Memory is short: fewer guests wait.',
  bare: 'Memory is very short: no guest waits.',
  park: 'Memory is used up: the idlest sessions are being parked.',
};

function HostBar({ now }) {
  const taken = now.total_bytes - now.available_bytes;
  const rest = Math.max(0, taken - now.sessions_bytes - now.bases_bytes);
  return html`<div class="stack-small">
    <${Bar}
      tall
      whole=${now.total_bytes}
      parts=${[
        ['warm', now.sessions_bytes],
        ['shared', now.bases_bytes],
        ['base', rest],
      ]}
    />
    <p class="keys">
      <span class="key warm">${bytes(now.sessions_bytes)} sessions’ own</span>
      <span class="key shared">${bytes(now.bases_bytes)} templates, shared</span>
      <span class="key base">${bytes(rest)} all else</span>
      <span class="key free">${bytes(now.available_bytes)} available of ${bytes(now.total_bytes)}</span>
    </p>
  </div>`;
}

function Saved({ data }) {
  const { current, per_parked_bytes: each, per_parked_from: from } = data;
  const all = current.sessions_bytes + current.saved_bytes;
  return html`<dl class="figures">
    <div><dt>Awake</dt><dd>${current.running}<small>${bytes(current.sessions_bytes)} of memory of their own</small></dd></div>
    <div><dt>Asleep</dt><dd>${current.parked}<small>${bytes(current.image_bytes)} on disk, no memory</small></dd></div>
    <div>
      <dt>Saved by parking</dt>
      <dd>${bytes(current.saved_bytes)}<small>${bytes(all)} if all of them ran</small></dd>
    </div>
    ${each !== undefined && each !== null && html`<div>
      <dt>Reckoned for each</dt>
      <dd>${bytes(each)}<small>${FROM[from] ?? ''}</small></dd>
    </div>`}
  </dl>`;
}

function Pressure({ host }) {
  if (!host) return null;
  const { enforced, unenforced } = host.limits;
  return html`<p class="dim">
      ${PRESSURE[host.memory.pressure]} ${count(host.guests, 'process', 'processes')} of at most ${host.max_guests},
      ${' '}${bytes(host.memory.used_bytes)} charged of a budget of ${bytes(host.memory.budget_bytes)}.
    </p>
    <details>
      <summary>Limits that this host can enforce: ${enforced.length} of ${enforced.length + unenforced.length}</summary>
      <p>${enforced.length > 0 ? `Enforced: ${enforced.join(', ')}.` : ''}</p>
      <ul>
        ${unenforced.map((text) => html`<li class="dim">${text}</li>`)}
      </ul>
    </details>`;
}

export function HostSheet({ memory, pool, window, admin }) {
  const { data, problem, again } = memory;
  const plot = useMemo(() => {
    if (!data) return [[], []];
    const { at, sessions_bytes: own, saved_bytes: saved } = data.samples;
    const xs = at.map((t) => t / 1000);
    return saved ? [xs, own, own.map((n, i) => n + saved[i])] : [xs, own];
  }, [data]);
  const to = data ? Date.parse(data.now) / 1000 : 0;
  return html`<section class="sheet host-sheet" aria-labelledby="host-title">
    <header><h2 id="host-title">${admin ? 'The host’s memory' : 'Your sessions’ memory'}</h2></header>
    <div class="body stack">
      ${problem && html`<${Said} problem=${problem} again=${again} />`}
      ${!data && !problem && html`<${Working}>Reading the host’s figures</${Working}>`}
      ${data &&
      html`<${Saved} data=${data} />
        ${admin && html`<${HostBar} now=${data.current} />`}
        <${Plot}
          title=${admin ? 'Memory of sessions' : 'Memory of your sessions'}
          data=${plot}
          series=${plot.length > 2 ? SERIES : OWN}
          format=${bytes}
          most=${1 << 24}
          gapSeconds=${data.step_s * 2.5}
          from=${to - spanOf(window, data.now, data.from)}
          to=${to}
          empty="Nothing was measured yet: the first figures come within seconds."
        />
        <${Pressure} host=${pool?.host} />`}
    </div>
  </section>`;
}
