// SPDX-License-Identifier: Apache-2.0
// Several at once: what is marked, what becomes of it, and what came of it.
import { actOnAll, bulk, OPS } from '../lib/actions.js';
import { useCell } from '../lib/cell.js';
import { count, ms } from '../lib/format.js';
import { html } from '../lib/html.js';
import { can } from '../lib/states.js';
import { openDialog } from '../ui/dialog.js';
import { Icon } from '../ui/icons.js';
import { ProblemsNote } from './dialogs.js';

function Progress({ state }) {
  const { op, total, done, failed, waiting, running, took } = state;
  if (running)
    return html`<span role="status">
      ${OPS[op].doing}: ${done} of ${total}
      ${waiting > 0 && html`<span class="dim">, going on in ${waiting} s: there is a limit to changes in a minute</span>`}
    </span>`;
  return html`<span>
      ${OPS[op].done}: ${total - failed.length} of ${total}, in ${ms(took)}
      ${failed.length > 0 &&
      html`, <button type="button" class="link failed" onClick=${() => openDialog(ProblemsNote, { op, failed })}>
          ${count(failed.length, 'failure')}: why?
        </button>`}
    </span>
    <button type="button" class="button icon quiet" aria-label="Dismiss" onClick=${() => bulk.set(null)}>
      <${Icon} name="close" />
    </button>`;
}

export function BulkBar({ chosen, clear }) {
  const state = useCell(bulk);
  if (!state && chosen.length === 0) return null;
  const begin = (op) => {
    const able = chosen.filter(can[op]);
    clear();
    actOnAll(op, able);
  };
  const button = (op, word) => {
    const n = chosen.filter(can[op]).length;
    return html`<button type="button" class="button" disabled=${n === 0} onClick=${() => begin(op)}>
      ${word} ${n}
    </button>`;
  };
  return html`<div class="bulk" role="region" aria-label="Marked sessions">
    ${state?.running || chosen.length === 0
      ? html`<${Progress} state=${state} />`
      : html`<span>${chosen.length} marked</span>
          ${button('park', 'Park')} ${button('resume', 'Resume')}
          <button type="button" class="button quiet" onClick=${clear}>Unmark</button>`}
  </div>`;
}
