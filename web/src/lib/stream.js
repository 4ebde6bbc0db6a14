// SPDX-License-Identifier: Apache-2.0
// The one event stream: connects, connects again, and says how it stands. Runs in the SharedWorker,
// or in the page where there is none.
//
//   connecting -> live -> waiting -> connecting ...      refused: not signed in; only restart() leads on
//
// A stream that has said nothing for thrice the time between two figures (5 s) is broken off: a laptop
// that slept, or a wall between, ends no connection.
import { readEvents } from './sse.js';

const SILENCE_MS = 15000;
const WAIT_MIN_MS = 250;
const WAIT_MAX_MS = 5000;

// What ends a stream with a problem, and isn't the end of the sign-in, may be over the next time.
const isRefusal = (data) => JSON.parse(data).type.endsWith(':denied');

// say({kind: 'event', id, type, data}) and say({kind: 'state', state, since, whole}); `whole` of live: no
// event is missing between this and what came before.
export function openStream(url, say) {
  let last = null; // id of the last event
  let tries = 0;
  let control = null;
  let timer = 0;
  let state = { kind: 'state', state: 'connecting', since: Date.now() };

  function become(next, whole = false) {
    if (state.state === next) return;
    state = { kind: 'state', state: next, since: Date.now(), whole };
    say(state);
  }

  function heard() {
    clearTimeout(timer);
    timer = setTimeout(() => control?.abort(), SILENCE_MS);
  }

  function refuse() {
    clearTimeout(timer);
    control = null;
    become('refused');
  }

  function again() {
    clearTimeout(timer);
    control = null;
    become('waiting');
    timer = setTimeout(connect, Math.min(WAIT_MAX_MS, WAIT_MIN_MS * 2 ** tries++));
  }

  async function connect() {
    const mine = new AbortController();
    let over = false; // the sign-in is, says the stream
    control = mine;
    heard();
    try {
      const headers = { Accept: 'text/event-stream' };
      if (last) headers['Last-Event-ID'] = last;
      const answer = await fetch(url, { headers, cache: 'no-store', signal: mine.signal });
      if (answer.status === 401 || answer.status === 403) {
        if (control === mine) refuse();
        return;
      }
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      tries = 0;
      become('live', last !== null);
      await readEvents(
        answer.body,
        ({ id, type, data }) => {
          heard();
          if (id) last = id;
          if (type === 'error') over = isRefusal(data);
          else say({ kind: 'event', id, type, data });
        },
        heard,
      );
    } catch {
      // What ends it doesn't matter: it is begun again.
    }
    if (control !== mine) return;
    if (over) refuse();
    else again();
  }

  connect();
  return {
    get state() {
      return state;
    },
    // Somebody signed in, or a network came back: now, and not at the end of the wait.
    restart(fresh) {
      clearTimeout(timer);
      if (fresh) last = null;
      const old = control;
      control = null;
      old?.abort();
      tries = 0;
      become('connecting');
      connect();
    },
    close() {
      clearTimeout(timer);
      const old = control;
      control = null;
      old?.abort();
    },
  };
}
