// SPDX-License-Identifier: Apache-2.0
// Starting a session.
import { useState } from 'preact/hooks';
import { noteAct } from '../lib/actions.js';
import { post } from '../lib/api.js';
import { useCell } from '../lib/cell.js';
import { now } from '../lib/clock.js';
import { noteSession, pool, templates } from '../lib/data.js';
import { bytes, ms } from '../lib/format.js';
import { html } from '../lib/html.js';
import { go } from '../lib/router.js';
import { Form } from '../ui/dialog.js';
import { Area, Choice, pairsIn, Text, textIn } from '../ui/fields.js';
import { LimitFields, limitsIn, TimerFields, timersIn } from '../ui/limits.js';
import { speak } from '../ui/said.js';

function About({ name }) {
  useCell(pool.version);
  const template = templates.get(name);
  const stock = pool.get(name)?.pool;
  if (!template) return null;
  const waiting =
    stock?.warm > 0 ? `${stock.warm} waiting warm: it takes milliseconds.` : 'None waits warm: it takes a moment.';
  const processors = template.vcpus === 1 ? 'one processor' : `${template.vcpus} processors`;
  return html`<p class="help about-template" role="status">
    ${template.state === 'degraded'
      ? html`<b>Starts of this template fail at the moment:</b> ${template.reason}`
      : `${bytes(template.memory_bytes)} of memory, ${processors}. ${waiting}`}
  </p>`;
}

export function StartForm({ template: given }) {
  useCell(templates.version);
  const ready = [...templates.values()].filter(({ state, id }) => id && state !== 'building');
  const rank = { ready: 0, stored: 1, degraded: 2 };
  ready.sort((a, b) => rank[a.state] - rank[b.state] || (a.name < b.name ? -1 : 1));
  const [chosen, setTemplate] = useState(given);
  // Templates come and go while the form is open.
  const template = ready.some(({ name }) => name === chosen) ? chosen : ready[0]?.name;

  const begin = async (form) => {
    const labels = pairsIn(form, 'labels');
    const env = pairsIn(form, 'env', '\n');
    const limits = limitsIn(form);
    const started = performance.now();
    const session = await post('/v1/sessions', {
      template,
      name: textIn(form, 'name'),
      ...timersIn(form),
      labels: Object.keys(labels).length ? labels : undefined,
      env: Object.keys(env).length ? env : undefined,
      limits: Object.keys(limits).length ? limits : undefined,
    });
    const took = performance.now() - started;
    noteSession(session);
    noteAct(session.id, { op: 'create', state: 'done', took, answer: session, at: now() });
    speak(`${session.name} started in ${ms(session.timing?.total_ms ?? took)}`);
    go(`s/${session.id}`);
  };

  return html`<${Form}
    title="Start a session"
    action="Start"
    working="Starting …"
    act=${begin}
    disabled=${ready.length === 0}
  >
    ${ready.length === 0
      ? html`<p>There is no template to start from. One is built under Admin, or with <code>torpor template build</code>.</p>`
      : html`<div>
            <${Choice}
              label="Template"
              name="template"
              value=${template}
              onChange=${({ target }) => setTemplate(target.value)}
              options=${ready.map(({ name, state }) => [name, state === 'degraded' ? `${name} (failing)` : name])}
            />
            <${About} name=${template} />
          </div>
          <${Text}
            label="Name"
            name="name"
            maxlength="64"
            pattern="[A-Za-z0-9][A-Za-z0-9._\\-]*"
            placeholder="made up if left empty"
            help="Letters, digits, dot, dash, underline. It is the guest’s host name too."
            data-first
          />
          <${Text}
            label="Labels"
            name="labels"
            placeholder="team=a, purpose=try"
            help="To find it by; NAME=VALUE, with commas between."
          />
          <details>
            <summary>Timers</summary>
            <${TimerFields} />
          </details>
          <details>
            <summary>Limits</summary>
            <${LimitFields} />
          </details>
          <details>
            <summary>Environment of its commands</summary>
            <${Area} label="Variables" name="env" placeholder="LANG=C" help="NAME=VALUE, a line for each." />
          </details>`}
  </${Form}>`;
}
