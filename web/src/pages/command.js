// SPDX-License-Identifier: Apache-2.0
// Running commands in a session; what they print is shown as it comes.
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { callEvents, sessionPath } from '../lib/api.js';
import { cell, useCell } from '../lib/cell.js';
import { now } from '../lib/clock.js';
import { ms } from '../lib/format.js';
import { html } from '../lib/html.js';
import { Problem } from '../lib/problem.js';
import { can } from '../lib/states.js';
import { Said, speak } from '../ui/said.js';

const KEPT = 256 * 1024; // characters of output that a page holds
const RUNS = 12;

// What one command printed: pieces of [stream, text], the oldest dropped beyond KEPT.
function keep(run, stream, text) {
  const last = run.pieces.at(-1);
  if (last?.[0] === stream && last[1].length < 8192) last[1] += text;
  else run.pieces.push([stream, text]);
  run.length += text.length;
  while (run.length > KEPT && run.pieces.length > 1) {
    run.length -= run.pieces.shift()[1].length;
    run.cut = true;
  }
}

const runs = new Map(); // by session: they outlive a look at another page
const printed = cell(0); // counts the frames in which one of them had something new
let frame = 0;

function later() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    printed.set(printed.value + 1);
  });
}

export function Command({ session }) {
  const [text, setText] = useState('');
  useCell(printed);
  const mine = runs.get(session.id) ?? [];
  const going = mine.find(({ end }) => !end);

  const run = async (event) => {
    event.preventDefault();
    const line = text.trim();
    if (!line || going) return;
    const control = new AbortController();
    const one = { line, pieces: [], length: 0, at: now(), started: performance.now(), control };
    runs.set(session.id, [one, ...mine].slice(0, RUNS));
    setText('');
    const body = {
      argv: ['sh', '-c', line],
      wake: session.state !== 'running' || undefined,
      kill_on_disconnect: true,
    };
    try {
      await callEvents('POST', sessionPath(session.id, '/exec'), { body, signal: control.signal }, (type, data) => {
        if (type === 'stdout' || type === 'stderr') keep(one, type, data.data);
        else if (type === 'exit') one.end = data;
        else if (type === 'error') one.end = { problem: new Problem(data) };
        later();
      });
      one.end ??= { problem: new Problem({ type: 'offline', detail: 'The answer broke off.' }) };
    } catch (err) {
      one.end = err.name === 'AbortError' ? { stopped: true } : { problem: err };
    }
    one.took = performance.now() - one.started;
    speak(`${line}: ${outcome(one)}`);
    later();
  };

  const able = can.exec(session) || can.resume(session);
  return html`<section class="sheet" aria-labelledby="command-title">
    <header><h2 id="command-title">Run a command</h2></header>
    <div class="body command">
      <form onSubmit=${run}>
        <label class="unseen" for="command">Command, for the guest’s shell</label>
        <input
          class="input mono"
          id="command"
          value=${text}
          onInput=${({ target }) => setText(target.value)}
          placeholder="uptime; free -m"
          autocomplete="off"
          autocapitalize="none"
          spellcheck=${false}
          disabled=${!able}
        />
        ${going
          ? html`<button type="button" class="button" onClick=${() => going.control.abort()}>Stop it</button>`
          : html`<button type="submit" class="button main" disabled=${!able}>
              ${session.state === 'running' || !able ? 'Run' : 'Resume and run'}
            </button>`}
      </form>
      ${mine.length === 0
        ? html`<p class="dim">What it prints appears here as it comes. It ends when this page is closed.</p>`
        : mine.map((one) => html`<${Run} key=${one.started} run=${one} length=${one.length} end=${one.end} />`)}
    </div>
  </section>`;
}

function outcome({ end, took }) {
  if (!end) return 'running …';
  const time = ms(took);
  if (end.stopped) return `stopped after ${time}`;
  if (end.problem) return 'failed';
  if (end.signal !== null) return `ended by signal ${end.signal} after ${time}`;
  return end.exit_status === 0 ? `done in ${time}` : `exit status ${end.exit_status} after ${time}`;
}

const piece = ([stream, text]) => (stream === 'stderr' ? html`<span class="stderr">${text}</span>` : text);

// Follows its end, unless somebody scrolled away from it.
function Output({ run }) {
  const output = useRef();
  const follow = useRef(true);
  useLayoutEffect(() => {
    if (follow.current) output.current.scrollTop = output.current.scrollHeight;
  });
  const scrolled = ({ currentTarget: at }) => {
    follow.current = at.scrollTop + at.clientHeight > at.scrollHeight - 24;
  };
  const attributes = { tabindex: '0', role: 'log', 'aria-label': 'Output', 'aria-live': 'off', onScroll: scrolled };
  return html`<pre class="output" ref=${output} ...${attributes}>
    ${run.cut && html`<span class="dim">… earlier output isn’t kept${'\n'}</span>`}${run.pieces.map(piece)}
  </pre>`;
}

function Run({ run }) {
  const bad = run.end && (run.end.problem || run.end.exit_status);
  return html`<article class="run" aria-label="Command ${run.line}">
    <p class="run-line">
      <code>$ ${run.line}</code><span class=${bad ? 'failed' : 'dim'}>${outcome(run)}</span>
    </p>
    ${run.pieces.length > 0 && html`<${Output} run=${run} />`}
    ${run.end?.problem && html`<${Said} problem=${run.end.problem} />`}
  </article>`;
}
