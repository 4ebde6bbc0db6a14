// SPDX-License-Identifier: Apache-2.0
// How long starts, resumes and parks took, and where starts came from.
import { useMemo } from 'preact/hooks';
import { count, ms, percent } from '../lib/format.js';
import { html } from '../lib/html.js';
import { Bar } from '../ui/memory.js';
import { Histogram, Plot } from '../ui/plot.js';
import { Said, Working } from '../ui/said.js';
import { spanOf } from '../ui/window-choice.js';

const KINDS = [
  ['claim', 'Starts', 'No session was started in this time.'],
  ['resume', 'Resumes', 'None was resumed in this time.'],
  ['park', 'Parks', 'None was parked in this time.'],
];
const PERCENTILES = ['p50', 'p90', 'p95', 'p99', 'max'];
const P95 = [
  { label: 'start', color: '--ember' },
  { label: 'resume', color: '--ink-2', dash: [5, 3] },
  { label: 'park', color: '--frost' },
];

function Distribution({ word, empty, d, failures }) {
  return html`<div class="stack-small">
    <h3>${word} <span class="dim">${count(d.count, 'time')}${failures > 0 ? `, ${failures} failed` : ''}</span></h3>
    ${d.count === 0
      ? html`<p class="dim hist-room">${empty}</p>`
      : html`<${Histogram}
            buckets=${d.buckets}
            format=${ms}
            label="${word}: half within ${ms(d.p50_ms)}, 95 of 100 within ${ms(d.p95_ms)}, the longest ${ms(d.max_ms)}"
          />
          <dl class="percentiles">
            ${PERCENTILES.map((p) => html`<div><dt>${p}</dt>${' '}<dd>${ms(d[`${p}_ms`])}</dd></div>`)}
          </dl>`}
  </div>`;
}

function Sources({ claims, rate }) {
  const all = claims.warm + claims.shell + claims.spawn;
  if (all === 0) return html`<p class="dim">No session was started in this time.</p>`;
  return html`<div class="stack-small">
    <${Bar}
      tall
      whole=${all}
      parts=${[
        ['warm', claims.warm],
        ['cold', claims.shell],
        ['base', claims.spawn],
      ]}
    />
    <p class="keys">
      <span class="key warm">${claims.warm} by a warm guest</span>
      <span class="key cold">${claims.shell} by a shell</span>
      <span class="key base">${claims.spawn} by a new process</span>
      ${rate !== null && html`<span><b>${percent(rate)}</b> of those that a warm guest could serve</span>`}
    </p>
  </div>`;
}

export function Times({ ask, window, template, onTemplate }) {
  const { data, problem, again } = ask;
  const part = data && (data.templates.find(({ name }) => name === template) ?? data.all);
  const plot = useMemo(() => {
    if (!part) return [[], [], [], []];
    const { at, claim_p95_ms: claim, resume_p95_ms: resume, park_p95_ms: park } = part.series;
    return [at.map((t) => t / 1000), claim, resume, park];
  }, [part]);
  const to = data ? Date.parse(data.now) / 1000 : 0;
  return html`<section class="sheet times-sheet" aria-labelledby="times-title">
    <header>
      <h2 id="times-title">How long it took</h2>
      ${data?.templates.length > 1 &&
      html`<select
        class="input narrow-select"
        aria-label="Template"
        value=${template}
        onChange=${({ target }) => onTemplate(target.value)}
      >
        <option value="">All templates</option>
        ${data.templates.map(({ name }) => html`<option value=${name}>${name}</option>`)}
      </select>`}
    </header>
    <div class="body stack">
      ${problem && html`<${Said} problem=${problem} again=${again} />`}
      ${!part && !problem && html`<${Working}>Reading how long it took</${Working}>`}
      ${part &&
      html`<div class="three">
          ${KINDS.map(
            ([key, word, empty]) =>
              html`<${Distribution} word=${word} empty=${empty} d=${part[key]} failures=${part.failures[key]} />`,
          )}
        </div>
        <${Plot}
          title="95 of 100 within"
          data=${plot}
          series=${P95}
          format=${ms}
          most=${10}
          from=${to - spanOf(window, data.now, data.from)}
          to=${to}
          empty="Nothing was started, resumed or parked in this time."
        />
        <div class="stack-small">
          <h3>Where starts came from</h3>
          <${Sources} claims=${part.claims} rate=${part.hit_rate} />
        </div>`}
    </div>
  </section>`;
}
