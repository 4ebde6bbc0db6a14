// SPDX-License-Identifier: Apache-2.0
// One session: what it is, what it was, and what can be done with it.
import { useEffect } from 'preact/hooks';
import { act, acts } from '../lib/actions.js';
import { get, sessionPath } from '../lib/api.js';
import { useCell } from '../lib/cell.js';
import { useItem } from '../lib/collection.js';
import { loaded, readSession, sessions, usage } from '../lib/data.js';
import { useAsk, useEvery, useTitle } from '../lib/hooks.js';
import { html } from '../lib/html.js';
import { Link } from '../lib/router.js';
import { can } from '../lib/states.js';
import { openDialog } from '../ui/dialog.js';
import { Icon } from '../ui/icons.js';
import { MoreButton } from '../ui/menu.js';
import { Cpu, Memory } from '../ui/memory.js';
import { Said, Working } from '../ui/said.js';
import { State } from '../ui/state.js';
import { Story } from '../ui/story.js';
import { Ago } from '../ui/time.js';
import { Due, Image } from './cells.js';
import { Command } from './command.js';
import { CheckpointForm, DestroyForm, ForkForm, RenameForm } from './dialogs.js';
import { AuditSheet, FamilySheet, FactsSheet, FreshSheet } from './session-sheets.js';
import { OverTime } from './over-time.js';

function Buttons({ session, images }) {
  const checkpoints = images.filter(({ kind }) => kind === 'checkpoint');
  const button = (op, word, look = '') =>
    html`<button type="button" class="button ${look}" onClick=${() => act(op, session)}>${word}</button>`;
  const more = () => [
    { word: 'Rename …', act: () => openDialog(RenameForm, { session }) },
    { word: 'Destroy …', act: () => openDialog(DestroyForm, { session }), danger: true },
  ];
  const still = !can.park(session) && !can.resume(session) && !can.cancel(session);
  return html`<div class="buttons" role="group" aria-label="Actions">
    ${can.park(session) && button('park', 'Park', 'main')} ${can.resume(session) && button('resume', 'Resume', 'main')}
    ${can.cancel(session) && button('cancel', 'Call the park off', 'main')}
    ${still &&
    html`<button type="button" class="button main" disabled>${session.state === 'error' ? 'Resume' : 'Wait'}</button>`}
    ${can.unpause(session)
      ? button('unpause', 'Go on')
      : html`<button type="button" class="button" disabled=${!can.pause(session)} onClick=${() => act('pause', session)}>
          Pause
        </button>`}
    <button
      type="button"
      class="button"
      disabled=${!can.fork(session) && checkpoints.length === 0}
      onClick=${() => openDialog(ForkForm, { session, checkpoints })}
    >
      Fork …
    </button>
    <button
      type="button"
      class="button"
      disabled=${!can.checkpoint(session)}
      onClick=${() => openDialog(CheckpointForm, { session })}
    >
      Checkpoint …
    </button>
    <${MoreButton} label="More for ${session.name}" items=${more} />
  </div>`;
}

function Head({ session, images }) {
  return html`<div class="session-head">
      <p class="crumb"><${Link} to="">Sessions</${Link}> / <span class="mono">${session.id}</span></p>
      <div class="page-head">
        <h1>
          ${session.name}
          <button
            type="button"
            class="button icon quiet"
            aria-label="Rename ${session.name}"
            onClick=${() => openDialog(RenameForm, { session })}
          >
            <${Icon} name="pen" />
          </button>
        </h1>
        <${Buttons} session=${session} images=${images} />
      </div>
    </div>
    <dl class="figures now" aria-label="Now">
      <div>
        <dt>State</dt>
        <dd><${State} state=${session.state} size=${18} /><small>for <${Ago} time=${session.changed} long /></small></dd>
      </div>
      <div><dt>Memory</dt><dd><${Memory} session=${session} /></dd></div>
      <div>
        <dt>Processor</dt>
        <dd>
          ${session.guest
            ? html`<${Cpu} id=${session.id} /><small>of one, over the last 5 s</small>`
            : html`<span class="dim">none</span><small>asleep</small>`}
        </dd>
      </div>
      <div>
        <dt>Image on disk</dt>
        <dd>
          <${Image} session=${session} />
          <small>
            ${session.image ? html`from <${Ago} time=${session.image.created} /> ago` : 'never parked'}
          </small>
        </dd>
      </div>
      <div><dt>Timer</dt><dd class="timer"><${Due} session=${session} /></dd></div>
    </dl>`;
}

function Gone({ id, problem }) {
  return html`<div class="empty">
    <h1>No such session</h1>
    ${problem?.status === 404 &&
    html`<p><code>${id}</code> isn’t there. It may have been destroyed, or belong to another tenant.</p>`}
    ${problem && problem.status !== 404 && html`<${Said} problem=${problem} />`}
    <${Link} to="" class="button">To all sessions</${Link}>
  </div>`;
}

export function SessionPage({ id }) {
  const { state } = useCell(loaded);
  const session = useItem(sessions, id);
  const done = useItem(acts, id);
  useItem(usage, id);
  useTitle(session?.name ?? 'Session');

  // Its memory, which the list hasn't; or one that isn't on the list: too many there, or gone.
  const alone = useAsk(async () => {
    if (state === 'loading') return;
    await readSession(id);
  }, [id, state, session?.state]);

  const turn = session && `${session.state} ${session.changed} ${session.event}`;
  // Of an action that was over before a frame was drawn only the end is seen: `done` is another then, its state isn't.
  const images = useAsk(() => (session ? get(sessionPath(id, '/images')) : null), [id, turn, done]);
  const lineage = useAsk(() => (session ? get(sessionPath(id, '/lineage')) : null), [id, turn, done]);
  const audit = useAsk(() => (session ? get(`/v1/audit?session=${id}&limit=50`) : null), [id, turn, done]);
  useEvery(15000, lineage.again);
  useEffect(() => scrollTo(0, 0), [id]);

  if (!session) {
    if (state === 'loading' || alone.loading) return html`<${Working}>Reading the session</${Working}>`;
    return html`<${Gone} id=${id} problem=${alone.problem} />`;
  }
  return html`<${Head} session=${session} images=${images.data?.images ?? []} />
    ${session.reason && html`<div class="said ${session.state === 'error' ? 'bad' : ''}"><p>${session.reason}</p></div>`}
    <div class="story" aria-live="polite"><${Story} act=${done} /></div>
    <div class="columns">
      <div class="wide">
        <${Command} session=${session} />
        <${OverTime} session=${session} />
        <${FamilySheet} session=${session} lineage=${lineage} />
      </div>
      <div class="thin">
        <${FreshSheet} session=${session} />
        <${FactsSheet} session=${session} />
      </div>
    </div>
    <${AuditSheet} audit=${audit} />`;
}
