// SPDX-License-Identifier: Apache-2.0
// The whole story, by somebody who sees Torpor for the first time: start, run a command, park, see
// memory come back, resume, fork four ways, and be told what happened at each step.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inState, launch, openSession, person, printed, rowOf, runCommand, signIn, wellBehaved } from './browser.mjs';
import { figure, World } from './world.mjs';

let world;
let browser;
let context;
let page;

before(async () => {
  world = await World.open();
  browser = await launch();
  context = await person(browser, world);
  page = await signIn(context, await world.adminToken());
});
after(async () => {
  await browser?.close();
  await world?.close();
});

const story = () => page.getByRole('region', { name: 'What happened' });
const state = (word) => page.locator('.now').getByText(word, { exact: true }).waitFor();
const button = (name) => page.getByRole('group', { name: 'Actions' }).getByRole('button', { name, exact: true });

// All that `act` brings about is drawn at once, as on a host that is busy.
async function inOneFrame(act) {
  await page.evaluate(() => {
    const real = globalThis.requestAnimationFrame;
    const held = [];
    globalThis.requestAnimationFrame = (frame) => held.push(frame);
    globalThis.drawAgain = () => {
      globalThis.requestAnimationFrame = real;
      for (const frame of held) real(frame);
    };
  });
  await act();
  await page.evaluate(() => globalThis.drawAgain());
}

test('an empty page says what to do, and starts a session', async () => {
  await page.getByText('No sessions yet').waitFor();
  await page.locator('.session-list').getByRole('button', { name: 'Start a session' }).click();
  const form = page.getByRole('dialog', { name: 'Start a session' });
  await form.getByLabel('Name', { exact: true }).fill('first');
  await form.getByLabel('Labels').fill('team=atlas, purpose=try');
  await form.getByRole('button', { name: 'Start', exact: true }).click();
  await page.getByRole('heading', { level: 1, name: 'first' }).waitFor();
  await story().getByText(/^Started in [\d.]+ (ms|s)$/).waitFor();
  await story().getByText('Fresh and ready').waitFor();
  await state('Running');
  // The receipt: all four are confirmed.
  assert.equal(await page.locator('.fresh .has').count(), 4);
  const { labels } = await world.session('first');
  assert.deepEqual(labels, { team: 'atlas', purpose: 'try' });
});

test('a command’s output comes as it is printed, and its exit status', async () => {
  const run = await runCommand(page, 'echo out; echo err >&2; echo $((6 * 7)) > /answer; exit 3');
  assert.equal(await run.getByRole('log').textContent(), 'out\nerr\n');
  assert.equal(await run.locator('.stderr').textContent(), 'err\n');
  await run.getByText(/^exit status 3 after/).waitFor();

  // One that goes on is seen before it is over, and can be stopped.
  const field = page.getByLabel('Command, for the guest’s shell');
  await field.fill('echo begun; sleep 600');
  await page.locator('.command').getByRole('button', { name: 'Run' }).click();
  await page.getByText('begun', { exact: true }).waitFor();
  await page.getByRole('button', { name: 'Stop it' }).click();
  await page.getByText(/^stopped after/).waitFor();
});

test('a command’s output comes when one has looked at another page meanwhile', async () => {
  const { id } = await world.session('first');
  const own = await person(browser, world);
  // Nothing else draws the page anew: no events, and nothing that is asked for again and again.
  await own.addInitScript(() => {
    delete globalThis.SharedWorker;
    const real = globalThis.setInterval;
    globalThis.setInterval = (act, period) => (period < 5000 ? real(act, period) : 0);
  });
  await own.route('**/v1/events*', (route) => route.abort());
  const mine = await signIn(own, await world.adminToken());
  await openSession(mine, 'first');
  await mine.getByLabel('Command, for the guest’s shell').fill('until [ -e /go ]; do sleep 0.1; done; echo went');
  await mine.locator('.command').getByRole('button', { name: 'Run' }).click();
  await mine.getByText('running …').waitFor();
  await mine.getByRole('link', { name: 'Sessions' }).first().click();
  await openSession(mine, 'first');
  await mine.getByText('running …').waitFor();
  // What the page begins with is there.
  await mine.waitForLoadState('networkidle');
  await world.exec(id, 'touch /go');
  await mine.getByText('went', { exact: true }).waitFor();
  await mine.getByText(/^done in/).waitFor();
  await own.close();
});

test('parking says what it took and what came back', async () => {
  await runCommand(page, 'head -c 20000000 /dev/zero | tr "\\0" x > /x');
  await page.locator('.now').getByText('shared').waitFor();
  await button('Park').click();
  await story().getByText(/^Parked in [\d.]+ (ms|s)$/).waitFor();
  await state('Parked');
  await story().getByText('Process gone').waitFor();
  const told = await story().textContent();
  assert.match(told, /file of [\d.]+ (KiB|MiB)/);
  const [, amount] = told.match(/([\d.]+) MiB of memory went back to the host/);
  assert.ok(Number(amount) > 18, `${amount} MiB: the command wrote 19`);
  // The memory is nobody's any more.
  await page.locator('.now').getByText('none', { exact: true }).first().waitFor();
  assert.equal((await world.session('first')).guest, null);
});

test('resuming goes on where it was', async () => {
  await button('Resume').click();
  await story().getByText(/^Resumed in [\d.]+ (ms|s)$/).waitFor();
  await state('Running');
  const run = await runCommand(page, 'cat /answer');
  await printed(run, '42');
});

test('forking four ways makes four that can be told apart', async () => {
  await button('Fork …').click();
  const form = page.getByRole('dialog', { name: 'Fork first' });
  await form.getByLabel('How many').fill('4');
  await form.getByLabel('Name', { exact: true }).fill('way');
  await form.getByRole('button', { name: 'Fork 4 ways' }).click();
  await story().getByText(/^4 forks in [\d.]+ (ms|s)$/).waitFor();
  const family = page.locator('.family');
  for (let i = 1; i <= 4; i++) await family.getByRole('link', { name: `way-${i}` }).waitFor();
  await family.getByRole('link', { name: 'way-3' }).click();
  await page.getByRole('heading', { level: 1, name: 'way-3' }).waitFor();
  const run = await runCommand(page, 'cat /answer; hostname');
  await printed(run, '42');
  await printed(run, 'way-3');
});

test('pause and going on, checkpoint and a fork of it, rename, and what was done is on record', async () => {
  await button('Pause').click();
  await state('Paused');
  await button('Go on').click();
  await state('Running');
  await button('Checkpoint …').click();
  const form = page.getByRole('dialog');
  await form.getByLabel('Name', { exact: true }).fill('before-lunch');
  await form.getByRole('button', { name: 'Take it' }).click();
  await story().getByText(/^Checkpoint before-lunch in/).waitFor();
  await page.getByRole('button', { name: 'Fork from before-lunch …' }).click();
  await form.getByLabel('How many').fill('1');
  await form.getByLabel('Name', { exact: true }).fill('after-lunch');
  await inOneFrame(async () => {
    await form.getByRole('button', { name: 'Fork', exact: true }).click();
    await form.waitFor({ state: 'detached' });
  });
  await page.locator('.family').getByRole('link', { name: 'after-lunch' }).waitFor();

  // By the session's event, not by the look that a page that is seen takes now and then.
  await page.evaluate(() => Object.defineProperty(document, 'hidden', { configurable: true, value: true }));
  await page.getByRole('button', { name: 'Remove before-lunch …' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove before-lunch' }).click();
  await page.locator('li.checkpoint').waitFor({ state: 'detached' });
  await page.evaluate(() => delete document.hidden);

  await page.getByRole('button', { name: 'Rename way-3' }).click();
  await page.getByRole('dialog').getByLabel('Name', { exact: true }).fill('way-there');
  await page.getByRole('dialog').getByRole('button', { name: 'Rename' }).click();
  await page.getByRole('heading', { level: 1, name: 'way-there' }).waitFor();

  const trail = page.getByRole('region', { name: 'Audit trail' });
  for (const op of ['fork', 'pause', 'unpause', 'checkpoint'])
    await trail.getByRole('cell', { name: op, exact: true }).first().waitFor();
});

test('timers are changed, and limits, and what the host can’t enforce is told', async () => {
  await page.getByRole('button', { name: 'Change timers' }).click();
  let form = page.getByRole('dialog');
  await form.getByLabel('Park after idle for', { exact: true }).fill('90');
  await form.getByLabel('Unit of Park after idle for').selectOption('minutes');
  await form.getByRole('button', { name: 'Set' }).click();
  await form.waitFor({ state: 'detached' });
  await page.locator('.facts').getByText('1 h 30 min').waitFor();
  assert.equal((await world.session('way-there')).timers.idle_s, 5400);

  await page.getByRole('button', { name: 'Change limits' }).click();
  form = page.getByRole('dialog');
  await form.getByLabel('Open files').fill('512');
  await form.getByRole('button', { name: 'Set' }).click();
  await form.waitFor({ state: 'detached' });
  await page.locator('.facts').getByText('512', { exact: true }).waitFor();
  assert.equal((await world.session('way-there')).limits.nofile, 512);
});

test('what was asked for before a change doesn’t undo it', async () => {
  const { id } = await world.session('way-there');
  await page.getByRole('link', { name: 'Torpor' }).click();
  let release;
  const held = new Promise((resolve) => (release = resolve));
  await page.route(`**/v1/sessions/${id}`, async (route) => {
    const response = await route.fetch();
    await held;
    await route.fulfill({ response });
  });
  const late = page.waitForResponse((response) => response.url().endsWith(`/v1/sessions/${id}`));
  const asked = page.waitForEvent('request', (request) => request.url().endsWith(`/v1/sessions/${id}`));
  await openSession(page, 'way-there');
  await asked;
  await world.ask('PATCH', `/v1/sessions/${id}`, { labels: { change: 'late' } });
  const label = page.locator('.labels').getByText('change=late');
  await label.waitFor();
  release();
  await (await late).finished();
  await page.unrouteAll({ behavior: 'wait' });
  // What it would bring about is drawn with the next frame.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  assert.equal(await label.count(), 1);
});

test('what goes wrong is said in plain words, with the detail', async () => {
  await page.getByRole('link', { name: 'Torpor' }).click();
  await page.getByRole('button', { name: 'Start a session' }).first().click();
  const form = page.getByRole('dialog');
  await form.getByLabel('Name', { exact: true }).fill('first');
  await form.getByRole('button', { name: 'Start', exact: true }).click();
  const said = form.getByRole('alert');
  await said.getByText('That name is taken.').waitFor();
  assert.match(await said.textContent(), /first/);
  await page.keyboard.press('Escape');
});

test('many at once: marked, parked, resumed', async () => {
  for (const name of ['way-1', 'way-2', 'way-4']) await rowOf(page, name).getByRole('checkbox').check();
  const bar = page.getByRole('region', { name: 'Marked sessions' });
  await bar.getByRole('button', { name: 'Park 3' }).click();
  await bar.getByText(/^Parked: 3 of 3, in/).waitFor();
  for (const name of ['way-1', 'way-2', 'way-4']) {
    await inState(page, name, 'parked');
    await rowOf(page, name).getByText(/^Parked in [\d.]+ (ms|s)$/).waitFor();
  }
  for (const name of ['way-1', 'way-2']) await rowOf(page, name).getByRole('checkbox').check();
  await bar.getByRole('button', { name: 'Resume 2' }).click();
  await inState(page, 'way-1', 'running');
  await inState(page, 'way-2', 'running');
});

test('search, filter and sort are in the address, and survive a reload', async () => {
  await page.getByLabel('Search by name, id, template or label').fill('way-');
  await page.getByRole('button', { name: /^Asleep/ }).click();
  await page.getByRole('button', { name: 'Session', exact: true }).click();
  await rowOf(page, 'way-1').waitFor({ state: 'detached' });
  const query = new URL(page.url()).searchParams;
  assert.deepEqual([query.get('q'), query.get('state'), query.get('sort')], ['way-', 'asleep', 'name']);
  await page.reload();
  await rowOf(page, 'way-4').waitFor();
  assert.equal(await page.locator('[data-id]').count(), 1);
  await page.getByRole('button', { name: /^All/ }).click();
  await page.getByLabel('Search by name, id, template or label').fill('');
  await rowOf(page, 'first').waitFor();
});

test('destroying asks first, and names what it is about', async () => {
  await page.getByRole('button', { name: 'More for way-4' }).click();
  await page.getByRole('menuitem', { name: 'Destroy …' }).click();
  const form = page.getByRole('dialog', { name: 'Destroy way-4?' });
  await form.getByRole('button', { name: 'Keep it' }).click();
  await rowOf(page, 'way-4').waitFor();
  await page.getByRole('button', { name: 'More for way-4' }).click();
  await page.keyboard.press('End');
  await page.keyboard.press('Enter');
  await form.getByRole('button', { name: 'Destroy way-4' }).click();
  await rowOf(page, 'way-4').waitFor({ state: 'detached' });
  assert.equal(await world.session('way-4'), undefined);
});

test('the pool page tells where starts came from and how long they took', async () => {
  await page.getByRole('link', { name: 'Pool and host' }).click();
  await page.getByText('Guests that wait').waitFor();
  await page.getByRole('rowheader', { name: 'minimal' }).waitFor();
  await page.getByText('Saved by parking').waitFor();
  const times = page.getByRole('region', { name: 'How long it took' });
  await times.getByText(/p95/).first().waitFor();
  figure('story.requests', context.kept.requests.length, 'requests of a whole visit');
});

test('the page behaved', () => wellBehaved(context));
