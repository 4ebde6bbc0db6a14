// SPDX-License-Identifier: Apache-2.0
// The page's end of the event stream.
import { cell } from './cell.js';
import { openStream } from './stream.js';

// {state: 'connecting' | 'live' | 'waiting' | 'refused', since, whole}, see stream.js
export const link = cell({ state: 'connecting', since: Date.now() });

let restart = () => {};

function viaWorker(hear, url, fresh) {
  const { port } = new SharedWorker(document.documentElement.dataset.worker, 'torpor');
  const join = (anew) => port.postMessage({ do: 'join', url, fresh: anew });
  port.onmessage = ({ data }) => hear(data);
  addEventListener('pagehide', () => port.postMessage({ do: 'leave' }));
  addEventListener('pageshow', ({ persisted }) => persisted && join(false));
  restart = (anew) => port.postMessage({ do: 'restart', fresh: anew });
  join(fresh);
}

function viaPage(hear, url) {
  let stream = openStream(url, hear);
  addEventListener('pagehide', () => stream.close());
  addEventListener('pageshow', ({ persisted }) => {
    if (persisted) stream = openStream(url, hear);
  });
  restart = (fresh) => stream.restart(fresh);
}

// Calls event(type, data, id) for each. `fresh`: a stream that other pages have is of whoever was before them.
export function listen(url, event, fresh = false) {
  const hear = (message) => {
    if (message.kind === 'state') link.set(message);
    else event(message.type, message.data ? JSON.parse(message.data) : null, Number(message.id));
  };
  if (window.SharedWorker) viaWorker(hear, url, fresh);
  else viaPage(hear, url);
  addEventListener('online', () => link.value.state === 'waiting' && restart(false));
}

// Live now, or it takes too long to wait for.
export function settled(within) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, within);
    const leave = link.subscribe(({ state }) => state === 'live' && done());
    function done() {
      clearTimeout(timer);
      leave();
      resolve();
    }
    if (link.value.state === 'live') done();
  });
}

export const reconnect = (fresh) => restart(fresh);
