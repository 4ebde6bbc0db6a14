// SPDX-License-Identifier: Apache-2.0
// Two tenants in two browsers, and the admin above them.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inState, launch, person, rowOf, signIn, wellBehaved } from './browser.mjs';
import { World } from './world.mjs';

let world;
let browser;
let tokens;

before(async () => {
  world = await World.open();
  browser = await launch();
  tokens = { ada: await world.tenant('ada'), bob: await world.tenant('bob') };
});
after(async () => {
  await browser?.close();
  await world?.close();
});

test('each sees its own, live, and nothing of the other', async () => {
  const [ada, bob] = await Promise.all(['ada', 'bob'].map(() => person(browser, world)));
  const adas = await signIn(ada, tokens.ada);
  const bobs = await signIn(bob, tokens.bob);
  await adas.getByText('Live', { exact: true }).waitFor();
  await bobs.getByText('Live', { exact: true }).waitFor();

  // Both have one of the same name.
  const mine = await world.create('box', { tenant: 'ada' });
  const yours = await world.create('box', { tenant: 'bob' });
  await inState(adas, 'box', 'running');
  await inState(bobs, 'box', 'running');
  assert.equal(await rowOf(adas, 'box').getAttribute('data-id'), mine.id);
  assert.equal(await rowOf(bobs, 'box').getAttribute('data-id'), yours.id);

  await rowOf(adas, 'box').getByRole('button', { name: 'Park box' }).click();
  await inState(adas, 'box', 'parked');
  assert.equal(await rowOf(bobs, 'box').getAttribute('data-state'), 'running');
  assert.equal(await adas.locator('[data-id]').count(), 1);
  assert.equal(await bobs.locator('[data-id]').count(), 1);

  // The other's address leads nowhere.
  await bobs.goto(`${world.url}/#/s/${mine.id}`);
  await bobs.getByRole('heading', { name: 'No such session' }).waitFor();
  // A tenant's own account, and nothing to administer.
  await bobs.getByRole('link', { name: 'Account' }).click();
  await bobs.getByRole('heading', { name: 'bob' }).waitFor();
  assert.equal(await bobs.getByText('New tenant').count(), 0);

  wellBehaved(ada);
  wellBehaved(bob);
  await ada.close();
  await bob.close();
});

test('many at once go on by themselves when there were too many changes in a minute', async () => {
  const names = ['n1', 'n2', 'n3', 'n4'];
  const token = await world.tenant('dan');
  for (const name of names) await world.create(name, { tenant: 'dan' });
  await world.ask('PATCH', '/v1/tenants/dan', { limits: { requests_per_minute: 3 } });
  const dan = await person(browser, world);
  const page = await signIn(dan, token);
  await inState(page, 'n4', 'running');
  await page.getByLabel('Select all that are shown').check();
  const bar = page.getByRole('region', { name: 'Marked sessions' });
  // All are asked for at once: three may be, and another in twenty seconds.
  await bar.getByRole('button', { name: 'Park 4' }).click();
  await bar.getByText(/going on in \d+ s/).waitFor();
  await bar.getByText(/^Parked: 4 of 4/).waitFor();
  wellBehaved(dan);
  await dan.close();
});

test('many at once go on when the admin looks at another tenant', async () => {
  await world.tenant('hal');
  const names = ['h1', 'h2', 'h3', 'h4', 'h5'];
  for (const name of names) await world.create(name, { tenant: 'hal' });
  const admin = await person(browser, world);
  const page = await signIn(admin, await world.adminToken(), '/?tenant=hal');
  const bar = page.getByRole('region', { name: 'Marked sessions' });
  let release;
  const begin = async (op) => {
    const held = new Promise((resolve) => (release = resolve));
    await page.route(`**/${op.toLowerCase()}`, async (route) => {
      await held;
      await route.continue().catch(() => {});
    });
    const first = page.waitForRequest(`**/${op.toLowerCase()}`);
    await page.getByLabel('Select all that are shown').check();
    await bar.getByRole('button', { name: `${op} 5` }).click();
    await first;
  };
  await inState(page, 'h5', 'running');
  await begin('Park');
  await page.getByLabel('Show the sessions of tenant').selectOption('default');
  release();
  await bar.getByText(/^Parked: 5 of 5/).waitFor();
  await bar.getByRole('button', { name: 'Dismiss' }).click();
  await page.getByLabel('Show the sessions of tenant').selectOption('hal');
  await inState(page, 'h5', 'parked');
  wellBehaved(admin);
  await admin.close();
});

test('the admin makes a tenant and its token, which is shown once and signs in', async () => {
  const admin = await person(browser, world);
  const page = await signIn(admin, await world.adminToken());
  await page.getByRole('link', { name: 'Admin' }).click();
  await page.getByRole('button', { name: 'New tenant' }).click();
  await page.getByRole('dialog').getByLabel('Name', { exact: true }).fill('carol');
  await page.getByRole('dialog').getByRole('button', { name: 'Make it' }).click();
  await page.getByRole('link', { name: 'carol' }).click();
  await page.getByText('nobody can sign in as carol yet').waitFor();
  await page.getByRole('button', { name: 'New token for carol' }).click();
  await page.getByRole('dialog').getByLabel('What it is for').fill('her laptop');
  await page.getByRole('dialog').getByRole('button', { name: 'Make it' }).click();
  const token = await page.getByRole('dialog').locator('.secret code').textContent();
  await page.getByRole('button', { name: 'I have it' }).click();
  assert.ok(!(await page.content()).includes(token));
  await page.getByRole('cell', { name: 'her laptop', exact: true }).waitFor();

  const carol = await person(browser, world);
  const hers = await signIn(carol, token);
  await hers.getByText('No sessions yet').waitFor();

  // A quota, seen by whom it is for.
  await page.getByRole('button', { name: 'Change quotas …' }).click();
  await page.getByRole('dialog').getByLabel('Sessions that run').fill('1');
  await page.getByRole('dialog').getByRole('button', { name: 'Set' }).click();
  await page.getByText('of 1', { exact: true }).waitFor();
  await world.create('only', { tenant: 'carol' });
  await inState(hers, 'only', 'running');
  await hers.getByRole('button', { name: 'Start a session' }).click();
  await hers.getByRole('dialog').getByRole('button', { name: 'Start', exact: true }).click();
  await hers.getByText('You have as many running sessions as you may have.').waitFor();
  await hers.keyboard.press('Escape');

  // The admin looks at another tenant's sessions.
  await page.getByRole('link', { name: 'Sessions' }).click();
  await page.getByRole('heading', { level: 1, name: 'Sessions' }).waitFor();
  assert.equal(await page.locator('[data-id]').count(), 0);
  await page.getByLabel('Show the sessions of tenant').selectOption('carol');
  await inState(page, 'only', 'running');
  await rowOf(page, 'only').getByRole('button', { name: 'Park only' }).click();
  await inState(hers, 'only', 'parked');

  // Without her token she is out, at once and without asking for anything.
  await page.getByRole('link', { name: 'Admin' }).click();
  await page.getByRole('link', { name: 'carol' }).click();
  await page.getByRole('button', { name: 'Remove token her laptop' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove it' }).click();
  await hers.getByRole('dialog', { name: 'Sign in again' }).waitFor();

  wellBehaved(admin);
  await admin.close();
  await carol.close();
});

test('a quota that isn’t touched stays as it is, if it is nothing or no round number', async () => {
  const limits = { memory_bytes: 0, parked_bytes: 1234567, sessions: 3, ttl_s: 100 };
  await world.ask('POST', '/v1/tenants', { name: 'gil', limits });
  const admin = await person(browser, world);
  const page = await signIn(admin, await world.adminToken());
  await page.getByRole('link', { name: 'Admin' }).click();
  await page.getByRole('link', { name: 'gil' }).click();
  await page.getByRole('button', { name: 'Change quotas …' }).click();
  const form = page.getByRole('dialog');
  assert.equal(await form.getByLabel('Memory of their guests', { exact: true }).inputValue(), '0');
  await form.getByLabel('Sessions that run').fill('4');
  // Another admin is faster, with something else.
  await world.ask('PATCH', '/v1/tenants/gil', { limits: { requests_per_minute: 7 } });
  await form.getByRole('button', { name: 'Set' }).click();
  await page.getByText('of 4', { exact: true }).waitFor();
  const { limits: now } = await world.ask('GET', '/v1/tenants/gil');
  assert.deepEqual(now, { ...limits, sessions: 4, requests_per_minute: 7, idle_s: null, retention_s: null });
  // And what it is elsewhere is told here.
  await world.ask('PATCH', '/v1/tenants/gil', { limits: { sessions: 5 } });
  await page.getByText('of 5', { exact: true }).waitFor();
  wellBehaved(admin);
  await admin.close();

  const gil = await person(browser, world);
  const his = await signIn(gil, await world.token('gil'), '/#/admin');
  await his.getByText('of 5', { exact: true }).waitFor();
  await world.ask('PATCH', '/v1/tenants/gil', { limits: { sessions: 6 } });
  await his.getByText('of 6', { exact: true }).waitFor();
  await gil.close();
});

test('answers that take longer than it is until the next is asked for are shown', async () => {
  const context = await person(browser, world);
  const page = await signIn(context, tokens.ada);
  // One is answered once the next is asked for.
  let release = () => {};
  await page.route('**/v1/pool', async (route) => {
    release();
    await new Promise((resolve) => (release = resolve));
    await route.continue().catch(() => {});
  });
  await page.getByRole('link', { name: 'Pool and host' }).click();
  await page.getByRole('rowheader', { name: 'minimal' }).waitFor();
  wellBehaved(context);
  await context.close();
});

test('a list that comes late isn’t taken for that of the tenant who was chosen meanwhile', async () => {
  await world.create('hers', { tenant: 'ada' });
  const admin = await person(browser, world);
  const page = await signIn(admin, await world.adminToken());
  const choose = page.getByLabel('Show the sessions of tenant');
  const isAdas = (request) => request.url().includes('/v1/sessions?') && request.headers()['torpor-tenant'] === 'ada';
  let release;
  const held = new Promise((resolve) => (release = resolve));
  await page.route('**/v1/sessions?*', async (route) => {
    if (isAdas(route.request())) await held;
    await route.continue();
  });
  const late = page.waitForResponse((response) => isAdas(response.request()));
  await choose.selectOption('ada');
  await choose.selectOption('default');
  await page.getByText('No sessions yet').waitFor();
  release();
  await (await late).finished();
  await world.create('own');
  await inState(page, 'own', 'running');
  assert.equal(await page.locator('[data-id]').count(), 1);
  wellBehaved(admin);
  await admin.close();
});
