// SPDX-License-Identifier: Apache-2.0
// torpord ends under an open page, and comes back; one stream for all pages of a browser; no worker.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { inState, launch, person, rowOf, signIn, wellBehaved } from './browser.mjs';
import { until, World } from './world.mjs';

let world;
let browser;
let token;

before(async () => {
  world = await World.open();
  browser = await launch();
  token = await world.adminToken();
});
after(async () => {
  await browser?.close();
  await world?.close();
});

async function survives(signal, name) {
  const context = await person(browser, world);
  const page = await signIn(context, token);
  const live = page.getByText('Live', { exact: true });
  await live.waitFor();
  const { id } = await world.create(name);
  await inState(page, name, 'running');

  await world.stop(signal);
  await page.getByText('Not live').waitFor();
  // What is shown stays, and what is asked for is refused in words.
  await rowOf(page, name).getByRole('button', { name: `Park ${name}` }).click();
  await rowOf(page, name).getByRole('button', { name: 'Parking failed: why?' }).click();
  await page.getByText('The service can’t be reached.').waitFor();
  await page.getByRole('button', { name: 'Close' }).click();

  await world.start();
  await live.waitFor();
  await inState(page, name, 'running');
  // The stream is the new one's.
  await world.ask('POST', `/v1/sessions/${id}/park`);
  await inState(page, name, 'parked');
  await rowOf(page, name).getByRole('button', { name: `Resume ${name}` }).click();
  await inState(page, name, 'running');
  wellBehaved(context);
  await context.close();
}

test('torpord is restarted under an open page', () => survives('SIGTERM', 'restarted'));
test('what happened while the page couldn’t ask is seen afterwards', async () => {
  const context = await person(browser, world);
  const page = await signIn(context, token);
  const { id } = await world.create('unseen');
  const { id: other } = await world.create('ended');
  await inState(page, 'unseen', 'running');
  await inState(page, 'ended', 'running');
  await world.stop();
  await page.getByText('Not live').waitFor();
  // A torpord without an address: its events are nobody's, and gone with it.
  await world.start({ tcp: false });
  await world.ask('POST', `/v1/sessions/${id}/park`);
  await world.ask('DELETE', `/v1/sessions/${other}`);
  await world.stop();
  await world.start();
  await inState(page, 'unseen', 'parked');
  await rowOf(page, 'ended').waitFor({ state: 'detached' });
  wellBehaved(context);
  await context.close();
});
test('a list that can’t be read behind a gap is asked for again', async () => {
  const context = await person(browser, world);
  const page = await signIn(context, token);
  const { id } = await world.create('behind');
  await inState(page, 'behind', 'running');
  await world.stop();
  await page.getByText('Not live').waitFor();
  await world.start({ tcp: false });
  await world.ask('POST', `/v1/sessions/${id}/park`);
  await world.stop();
  let refused = 0;
  await page.route('**/v1/sessions?*', (route) =>
    refused++ > 0 ? route.continue() : route.fulfill({ status: 503, json: { title: 'A limit was reached' } }),
  );
  await world.start();
  await inState(page, 'behind', 'parked');
  assert.ok(refused > 1);
  wellBehaved(context);
  await context.close();
});
test('torpord is killed under an open page', () => survives('SIGKILL', 'killed'));

// torpord's end of those from browsers, by the kernel's table: what it has with its guests comes and goes by itself.
function connections() {
  const port = `:${world.port.toString(16).toUpperCase().padStart(4, '0')}`;
  const LISTENS = '0A';
  return readFileSync('/proc/net/tcp', 'latin1')
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state, , , , , , inode]) => local.endsWith(port) && state !== LISTENS && inode !== '0').length;
}

test('ten pages of one browser have one stream between them', async () => {
  const context = await person(browser, world);
  const first = await signIn(context, token);
  await first.getByText('Live', { exact: true }).waitFor();
  const { id } = await world.create('shared');
  const pages = [first];
  for (let i = 1; i < 10; i++) {
    const page = await context.newPage();
    await page.goto(world.url);
    pages.push(page);
  }
  for (const page of pages) await page.getByText('Live', { exact: true }).waitFor();
  await world.ask('POST', `/v1/sessions/${id}/park`);
  for (const page of pages) await inState(page, 'shared', 'parked');
  // Six connections to a host are all that a browser makes; and still each page gets its answers.
  await rowOf(pages[9], 'shared').getByRole('button', { name: 'Resume shared' }).click();
  for (const page of pages) await inState(page, 'shared', 'running');
  // None has asked for a stream: the worker that they share has.
  assert.ok(!context.kept.requests.some((url) => url.includes('/v1/events')));
  // Pages go, the stream stays for those that are left.
  for (const page of pages.slice(0, 9)) await page.close();
  await world.ask('POST', `/v1/sessions/${id}/park`);
  await inState(pages[9], 'shared', 'parked');
  assert.ok(connections() > 0);
  await context.close();
  await until('the browser’s connections are closed', () => connections() === 0);
});

test('a page that joins a stream that went on without a gap has one of its own', async () => {
  const context = await person(browser, world);
  const first = await signIn(context, token);
  await world.create('before');
  await inState(first, 'before', 'running');
  await world.stop();
  await first.getByText('Not live').waitFor();
  await world.start();
  await first.getByText('Live', { exact: true }).waitFor();
  // It has read the list when it asks to join.
  const late = await context.newPage();
  await late.addInitScript(() => {
    const post = MessagePort.prototype.postMessage;
    MessagePort.prototype.postMessage = function (message) {
      if (message.do === 'join') globalThis.join = () => post.call(this, message);
      else post.call(this, message);
    };
  });
  await late.goto(world.url);
  await inState(late, 'before', 'running');
  await world.create('between');
  await late.evaluate(() => globalThis.join());
  await inState(late, 'between', 'running');
  wellBehaved(context);
  await context.close();
});

test('without SharedWorker a page has a stream of its own', async () => {
  const context = await person(browser, world);
  await context.addInitScript(() => delete globalThis.SharedWorker);
  const page = await signIn(context, token);
  await page.getByText('Live', { exact: true }).waitFor();
  const events = context.kept.requests.filter((url) => url.includes('/v1/events'));
  assert.equal(events.length, 1);
  await world.create('alone');
  await inState(page, 'alone', 'running');
  await world.stop();
  await page.getByText('Not live').waitFor();
  await world.start();
  await page.getByText('Live', { exact: true }).waitFor();
  wellBehaved(context);
  await context.close();
});
