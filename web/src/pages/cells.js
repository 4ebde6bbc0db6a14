// SPDX-License-Identifier: Apache-2.0
// What the table and the cards show of a session.
import { act, acts, OPS, tookOf } from '../lib/actions.js';
import { useItem } from '../lib/collection.js';
import { usage } from '../lib/data.js';
import { bytes, ms } from '../lib/format.js';
import { html } from '../lib/html.js';
import { go, Link } from '../lib/router.js';
import { can } from '../lib/states.js';
import { openDialog } from '../ui/dialog.js';
import { MoreButton } from '../ui/menu.js';
import { Ago, Until } from '../ui/time.js';
import { CheckpointForm, DestroyForm, ForkForm, ProblemNote, RenameForm } from './dialogs.js';

const SLACK_MS = 1000; // a change of state later than so is another action's

export function Name({ session }) {
  const labels = Object.entries(session.labels);
  return html`<span class="name">
    <${Link} to="s/${session.id}" class="name-link">${session.name}</${Link}>
    <span class="second">
      <span class="mono dim" title=${session.id}>${session.id.slice(0, 8)}</span>
      ${labels.map(([key, value]) => html`<span class="label">${key}=${value}</span>`)}
    </span>
  </span>`;
}

// Below the state: what came of the last action, where it was asked for; else for how long it is so.
export function Outcome({ session }) {
  const done = useItem(acts, session.id);
  if (done?.state === 'running') return html`<span class="dim">${OPS[done.op].doing} …</span>`;
  if (done?.state === 'failed')
    return html`<button
      type="button"
      class="link failed"
      onClick=${() => openDialog(ProblemNote, { session, op: done.op, problem: done.problem })}
    >
      ${OPS[done.op].doing} failed: why?
    </button>`;
  if (done?.state === 'done' && Date.parse(session.changed) < done.at + SLACK_MS)
    return html`<span class="outcome" title=${OPS[done.op].done}>${OPS[done.op].done} in ${ms(tookOf(done))}</span>`;
  return html`<span class="dim">for <${Ago} time=${session.changed} /></span>`;
}

export function Image({ session }) {
  return session.image ? bytes(session.image.bytes) : html`<span class="dim">none</span>`;
}

// When something will happen to it by itself.
export function Due({ session }) {
  const used = useItem(usage, session.id);
  const { parks_at: parks, expires, removed_at: removed, idle_s: idle } = session.timers;
  if (session.state === 'running' && used?.commands > 0)
    return html`<span class="dim">in use: ${used.commands === 1 ? 'a command runs' : `${used.commands} commands run`}</span>`;
  if (session.state === 'running' && idle > 0) {
    const from = Math.max(used?.active ?? 0, Date.parse(session.last_active));
    const at = used ? new Date(from + idle * 1000).toISOString() : parks;
    return at && html`<span class="dim">parks in <${Until} time=${at} /></span>`;
  }
  if (session.guest && expires) return html`<span class="dim">ends in <${Until} time=${expires} /></span>`;
  if (removed) return html`<span class="dim">kept for <${Until} time=${removed} /></span>`;
  return html`<span class="dim">no timer</span>`;
}

export function LastUse({ session }) {
  const used = useItem(usage, session.id);
  const at = Math.max(used?.active ?? 0, Date.parse(session.last_active));
  return html`<${Ago} time=${new Date(at).toISOString()} />`;
}

function PrimaryAction({ session, label }) {
  const { name } = session;
  const button = (op, word) =>
    html`<button type="button" class="button act" onClick=${() => act(op, session)} aria-label="${word} ${name}">
      ${label ?? word}
    </button>`;
  if (can.cancel(session)) return button('cancel', 'Call off');
  if (can.park(session)) return button('park', 'Park');
  if (can.resume(session)) return button('resume', 'Resume');
  return html`<button type="button" class="button act" disabled>
    ${session.state === 'error' ? 'No image' : 'Wait'}
  </button>`;
}

function menuOf(session) {
  const items = [
    { word: 'Pause', act: () => act('pause', session), off: !can.pause(session) },
    { word: 'Fork …', act: () => openDialog(ForkForm, { session }), off: !can.fork(session) },
    { word: 'Take a checkpoint …', act: () => openDialog(CheckpointForm, { session }), off: !can.checkpoint(session) },
    { word: 'Rename …', act: () => openDialog(RenameForm, { session }) },
    { word: 'Destroy …', act: () => openDialog(DestroyForm, { session }), danger: true },
  ];
  if (can.unpause(session)) items[0] = { word: 'Go on', act: () => act('unpause', session) };
  return items;
}

export function Actions({ session }) {
  return html`<span class="actions">
    <${PrimaryAction} session=${session} />
    <${MoreButton}
      label="More for ${session.name}"
      items=${() => [{ word: 'Open', act: () => go(`s/${session.id}`) }, ...menuOf(session)]}
    />
  </span>`;
}
