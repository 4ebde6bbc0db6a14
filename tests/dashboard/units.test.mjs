// SPDX-License-Identifier: Apache-2.0
// What can be said of the dashboard's code without a browser: numbers as they are read, events out of bytes.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

const lib = (name) => import(join(process.env.DASHBOARD_WEB, 'src/lib', name));
const { brief, bytes, count, ms, percent, span, timer } = await lib('format.js');
const { parser, readEvents } = await lib('sse.js');

test('numbers have the digits that matter, and a unit', () => {
  assert.deepEqual(
    [0, 812, 999, 1000, 10189, 1048576, 61865984, 268435456, 2 ** 40].map(bytes),
    ['0 bytes', '812 bytes', '999 bytes', '1.0 KiB', '10 KiB', '1.0 MiB', '59 MiB', '256 MiB', '1.0 TiB'],
  );
  assert.deepEqual(
    [0, 0.44, 16.24, 99.94, 99.96, 812.4, 999.6, 3412, 12345, 130000].map(ms),
    ['0.0 ms', '0.4 ms', '16.2 ms', '99.9 ms', '100 ms', '812 ms', '1.00 s', '3.41 s', '12.3 s', '2 min 10 s'],
  );
  assert.deepEqual(
    [0, 59, 60, 61, 3600, 5400, 86400, 90000, 2592000].map(span),
    ['0 s', '59 s', '1 min', '1 min 1 s', '1 h', '1 h 30 min', '1 d', '1 d 1 h', '30 d'],
  );
  assert.deepEqual([5, 65, 4000, 200000].map(brief), ['5 s', '1 min', '1 h', '2 d']);
  assert.deepEqual([0, 0.034, 0.5, 1, null].map(percent), ['0 %', '3.4 %', '50 %', '100 %', '–']);
  assert.equal(timer(0), 'never');
  assert.deepEqual([1, 4096].map((n) => count(n, 'page')), ['1 page', '4,096 pages']);
  assert.deepEqual([bytes(null), ms(undefined)], ['–', '–']);
});

// Fed in pieces of `size` bytes, cut anywhere.
function parse(text, size) {
  const events = [];
  let comments = 0;
  const feed = parser(
    (event) => events.push(event),
    () => comments++,
  );
  for (let at = 0; at < text.length; at += size) feed(text.slice(at, at + size));
  return { events, comments };
}

test('events are whole wherever the bytes are cut', () => {
  const text =
    ': here\n\nid: 7\nevent: session\ndata: {"a":\ndata: 1}\n\n' +
    'data:no blank\r\n\r\nevent: empty\n\nevent: half\ndata: never ended';
  for (let size = 1; size <= text.length; size++) {
    const { events, comments } = parse(text, size);
    assert.deepEqual(events, [
      { id: '7', type: 'session', data: '{"a":\n1}' },
      { id: undefined, type: 'message', data: 'no blank' },
    ]);
    assert.equal(comments, 1);
  }
});

test('a stream that ends with a problem is begun again, unless the sign-in is over', async () => {
  const { openStream } = await lib('stream.js');
  const states = async (code) => {
    globalThis.fetch = async () => new Response(`event: error\ndata: {"type":"urn:torpor:problem:${code}"}\n\n`);
    const seen = [];
    await new Promise((resolve) => {
      const stream = openStream('/v1/events', (message) => {
        seen.push(message.state);
        if (seen.length === 2) queueMicrotask(() => (stream.close(), resolve()));
      });
    });
    return seen;
  };
  assert.deepEqual(await states('io'), ['live', 'waiting']);
  assert.deepEqual(await states('denied'), ['live', 'refused']);
});

test('characters are whole wherever the bytes are cut', async () => {
  const bytes = new TextEncoder().encode('data: ♨ zzz 🐿\n\n');
  const body = new ReadableStream({
    start(control) {
      for (const byte of bytes) control.enqueue(new Uint8Array([byte]));
      control.close();
    },
  });
  const seen = [];
  await readEvents(body, ({ data }) => seen.push(data));
  assert.deepEqual(seen, ['♨ zzz 🐿']);
});

test('an address that isn’t right shows a page all the same', async () => {
  Object.assign(globalThis, {
    location: { hash: '#/s/%', search: '?sort=__proto__', pathname: '/' },
    addEventListener() {},
    BroadcastChannel: class {},
    setInterval() {}, // the page's clock, which would keep this process going
  });
  const { route } = await lib('router.js');
  assert.deepEqual([route.value.page, route.value.rest], ['s', ['%']]);
  const { choose } = await lib('choose.js');
  const all = ['2', '1'].map((id) => ({ id, created: id, labels: {} }));
  for (const sort of ['__proto__', '-constructor', 'toString', 'created'])
    assert.equal(choose(all, { ...route.value.query, sort }).length, 2);
});
