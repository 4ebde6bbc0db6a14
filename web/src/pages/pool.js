// SPDX-License-Identifier: Apache-2.0
// What waits for those who come, how long they waited, and where the host's memory is.
import { useMemo, useState } from 'preact/hooks';
import { get } from '../lib/api.js';
import { useCell } from '../lib/cell.js';
import { pool, self, templates } from '../lib/data.js';
import { useAsk, useEvery, useTitle } from '../lib/hooks.js';
import { html } from '../lib/html.js';
import { Said, Working } from '../ui/said.js';
import { WindowChoice } from '../ui/window-choice.js';
import { HostSheet } from './host.js';
import { Times } from './times.js';
import { TemplateStock } from './stock.js';

const PERIODS = { hour: 5000, day: 60000 };

export function PoolPage() {
  const who = useCell(self);
  const version = useCell(pool.version);
  useCell(templates.version);
  const [window, setWindow] = useState('hour');
  const [template, setTemplate] = useState('');
  useTitle('Pool and host');

  const now = useAsk(() => get('/v1/pool'), []);
  const memory = useAsk(() => get(`/v1/history/host?window=${window}`), [window, who.tenant]);
  const times = useAsk(() => (who.admin ? get(`/v1/history/pool?window=${window}`) : null), [window, who.admin]);
  useEvery(PERIODS[window], memory.again);
  useEvery(5000, now.again);
  useEvery(PERIODS[window], times.again);

  // The stream is ahead of what was asked for.
  const rows = useMemo(
    () => (now.data?.templates ?? []).map((one) => ({ ...one, ...pick(pool.get(one.name)) })),
    [now.data, version],
  );

  return html`<div class="page-head">
      <h1>Pool and host</h1>
      <${WindowChoice} value=${window} onChange=${setWindow} />
    </div>
    <${HostSheet} memory=${memory} pool=${now.data} window=${window} admin=${who.admin} />
    <section class="sheet stock-sheet" aria-labelledby="stock-title">
      <header>
        <h2 id="stock-title">Guests that wait</h2>
        <span class="side">${now.data ? queueWords(now.data.queue) : ''}</span>
      </header>
      ${now.problem && html`<div class="body"><${Said} problem=${now.problem} again=${now.again} /></div>`}
      ${now.data
        ? html`<${TemplateStock} rows=${rows} admin=${who.admin} />`
        : html`<div class="body"><${Working}>Reading the pool</${Working}></div>`}
    </section>
    ${who.admin && html`<${Times} ask=${times} window=${window} template=${template} onTemplate=${setTemplate} />`}`;
}

const pick = (live) => live && { state: live.state, reason: live.reason, pool: live.pool };

function queueWords(queue) {
  if (queue === 0) return 'Nobody is waiting for one.';
  return queue === 1 ? 'One claim is waiting.' : `${queue} claims are waiting.`;
}
