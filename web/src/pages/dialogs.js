// SPDX-License-Identifier: Apache-2.0
// What asks before it does something with a session.
import { useState } from 'preact/hooks';
import { act, change, OPS } from '../lib/actions.js';
import { bytes, span } from '../lib/format.js';
import { html } from '../lib/html.js';
import { go, route } from '../lib/router.js';
import { closeDialog, Form } from '../ui/dialog.js';
import { Choice, pairsIn, pairsText, Text, textIn } from '../ui/fields.js';
import { LimitFields, limitsIn, TimerFields, timersIn } from '../ui/limits.js';
import { Said } from '../ui/said.js';

const NAME = { maxlength: '64', pattern: '[A-Za-z0-9][A-Za-z0-9._\\-]*' };

// act() puts failures where the session is shown; a dialog shows them itself.
async function inDialog(op, session, body) {
  const { ok, problem } = await act(op, session, body);
  if (!ok) throw problem;
}

export function DestroyForm({ session }) {
  const { name, image } = session;
  const destroy = async () => {
    await inDialog('destroy', session);
    if (route.value.rest[0] === session.id) go('');
  };
  return html`<${Form}
    title="Destroy ${name}?"
    lead=${image
      ? `Its guest, its image of ${bytes(image.bytes)} and its checkpoints are gone for good. Forks of it stay.`
      : 'Its guest and all that is in it are gone for good. Forks of it stay.'}
    action="Destroy ${name}"
    working="Destroying …"
    danger
    act=${destroy}
  />`;
}

export function RenameForm({ session }) {
  return html`<${Form}
    title="Rename ${session.name}"
    action="Rename"
    working="Renaming …"
    act=${(form) => change(session, { name: textIn(form, 'name') })}
  >
    <${Text}
      label="Name"
      name="name"
      required
      value=${session.name}
      ...${NAME}
      help="Letters, digits, dot, dash, underline. The guest’s host name stays as it is."
      data-first
    />
  </${Form}>`;
}

export function CheckpointForm({ session }) {
  return html`<${Form}
    title="Take a checkpoint of ${session.name}"
    lead="Its state goes into a file beside it, and it runs on. Forks can begin at it."
    action="Take it"
    working="Taking it …"
    act=${(form) => inDialog('checkpoint', session, { name: textIn(form, 'name') })}
  >
    <${Text} label="Name" name="name" placeholder="made up if left empty" ...${NAME} data-first />
  </${Form}>`;
}

export function ForkForm({ session, checkpoints = [], image = '' }) {
  const [n, setN] = useState(2);
  const from = session.state === 'parked' ? 'its park' : 'its present state';
  const fork = (form) => {
    const prefix = textIn(form, 'prefix');
    const names = prefix && (n === 1 ? [prefix] : Array.from({ length: n }, (_, i) => `${prefix}-${i + 1}`));
    return inDialog('fork', session, { count: n, names, image: form.elements.image?.value || undefined });
  };
  return html`<${Form}
    title="Fork ${session.name}"
    lead="New sessions that go on from the same moment, each with its own identity. ${session.name} stays as it is."
    action=${n === 1 ? 'Fork' : `Fork ${n} ways`}
    working="Forking …"
    act=${fork}
  >
    <div class="pair">
      <${Text}
        label="How many"
        name="count"
        type="number"
        min="1"
        max="100"
        required
        value=${n}
        onInput=${({ target }) => setN(Number(target.value))}
        data-first
      />
      ${checkpoints.length > 0 &&
      html`<${Choice}
        label="From"
        name="image"
        value=${image}
        options=${[['', from], ...checkpoints.map(({ name }) => [name, `checkpoint ${name}`])]}
      />`}
    </div>
    <${Text}
      label="Name"
      name="prefix"
      placeholder="made up if left empty"
      ...${NAME}
      maxlength="60"
      help=${n > 1 ? 'Each gets a number behind it.' : ''}
    />
  </${Form}>`;
}

export function TimersForm({ session }) {
  return html`<${Form}
    title="Timers of ${session.name}"
    action="Set"
    working="Setting …"
    act=${(form) => change(session, timersIn(form))}
  >
    <${TimerFields} timers=${session.timers} standard=${false} />
    <p class="lead">
      Now: parked when idle for ${session.timers.idle_s ? span(session.timers.idle_s) : 'no time'}, destroyed after
      ${' '}${session.timers.ttl_s ? span(session.timers.ttl_s) : 'no time'}.
    </p>
  </${Form}>`;
}

export function LimitsForm({ session }) {
  return html`<${Form}
    title="Limits of ${session.name}"
    lead="They hold from now on, without a restart. What this host can’t enforce is told afterwards."
    action="Set"
    working="Setting …"
    act=${(form) => change(session, { limits: limitsIn(form) })}
  >
    <${LimitFields} limits=${session.limits} />
  </${Form}>`;
}

export function LabelsForm({ session }) {
  return html`<${Form}
    title="Labels of ${session.name}"
    action="Set"
    working="Setting …"
    act=${(form) => change(session, { labels: pairsIn(form, 'labels') })}
  >
    <${Text} label="Labels" name="labels" value=${pairsText(session.labels)} placeholder="team=a, purpose=try" data-first />
  </${Form}>`;
}

// --- what went wrong, in full ---

function Note({ title, children }) {
  return html`<form method="dialog">
    <h2 id="dialog-title">${title}</h2>
    ${children}
    <footer><button type="button" class="button main" data-first onClick=${closeDialog}>Close</button></footer>
  </form>`;
}

export function ProblemNote({ session, op, problem }) {
  return html`<${Note} title="${OPS[op].doing}: ${session.name}"><${Said} problem=${problem} /></${Note}>`;
}

export function ProblemsNote({ op, failed }) {
  return html`<${Note} title="${OPS[op].doing}: what failed">
    ${failed.map(({ name, problem }) => html`<${Said} what=${name} problem=${problem} />`)}
  </${Note}>`;
}
