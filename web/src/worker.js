// SPDX-License-Identifier: Apache-2.0
// One stream of events for all pages of a browser: HTTP/1.1 allows six connections to a host, and a
// stream takes one for good.
import { openStream } from './lib/stream.js';

const ports = new Set();
let stream = null;

function say(message) {
  for (const port of ports) port.postMessage(message);
}

function leave(port) {
  ports.delete(port);
  if (ports.size > 0) return;
  stream?.close();
  stream = null;
}

function join(port, url, fresh) {
  ports.add(port);
  if (!stream) stream = openStream(url, say);
  else if (fresh) stream.restart(true);
  // Whatever the stream has missed or not, this page has heard nothing of it yet.
  port.postMessage({ ...stream.state, whole: false });
}

self.onconnect = ({ ports: [port] }) => {
  port.onmessage = ({ data }) => {
    if (data.do === 'join') join(port, data.url, data.fresh);
    else if (data.do === 'leave') leave(port);
    else if (data.do === 'restart') stream?.restart(data.fresh);
  };
};
