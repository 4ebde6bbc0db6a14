// SPDX-License-Identifier: Apache-2.0
// Coming in: by token, by link; being turned away; being signed out by time, by hand, in place.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { findings, launch, person, serious, signIn, wellBehaved } from './browser.mjs';
import { until, World } from './world.mjs';

let world;
let browser;

before(async () => {
  world = await World.open({ pool: { warm_min: 0, warm_max: 0, shells_min: 0, shells_max: 0 } });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await world?.close();
});

const visitor = () => person(browser, world);

test('a wrong token is refused in words, and a right one let in', async () => {
  const token = await world.tenant('ada');
  const context = await visitor();
  const page = await context.newPage();
  await page.goto(world.url);
  await page.getByLabel('Token', { exact: true }).fill('tpr_nobody');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('No such token is known here').waitFor();
  assert.deepEqual(serious(await findings(page)), []);
  await page.getByLabel('Token', { exact: true }).fill(token);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Sessions', level: 1 }).waitFor();
  await page.getByText('No sessions yet').waitFor();
  // The page can't read what it is known by.
  assert.equal(await page.evaluate(() => document.cookie), '');
  wellBehaved(context);
  await context.close();
});

test('a token whose time is over is told from one that never was', async () => {
  await world.tenant('bea');
  const token = await world.token('bea', { expires_s: 1 });
  const context = await visitor();
  const page = await context.newPage();
  await page.goto(world.url);
  const field = page.getByLabel('Token', { exact: true });
  const expired = page.getByText('its time is over');
  await until('the token is too old', async () => {
    const { body } = await world.request('POST', '/v1/login', { token });
    return body.reason === 'token-expired';
  });
  await field.fill(token);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expired.waitFor();
  await context.close();
});

test('a sign-in link works once, and leaves nothing in the address', async () => {
  const { code, url } = await world.ask('POST', '/v1/login-links', undefined);
  assert.ok(url.startsWith(world.url), url);
  const context = await visitor();
  const page = await context.newPage();
  await page.goto(url);
  await page.getByRole('heading', { name: 'Sessions', level: 1 }).waitFor();
  assert.ok(!page.url().includes(code));
  await page.goBack().catch(() => {});
  assert.ok(!page.url().includes(code));
  const other = await visitor();
  const again = await other.newPage();
  await again.goto(url);
  await again.getByText('This link was used already').waitFor();
  assert.ok(!again.url().includes(code));
  await context.close();
  await other.close();
});

test('a sign-in link that is opened where the page is already signs that in', async () => {
  const { code, url } = await world.ask('POST', '/v1/login-links', undefined);
  const context = await visitor();
  const page = await context.newPage();
  await page.goto(world.url);
  await page.getByLabel('Token', { exact: true }).waitFor();
  await page.goto(url);
  await page.getByRole('heading', { name: 'Sessions', level: 1 }).waitFor();
  assert.ok(!page.url().includes(code));
  wellBehaved(context);
  await context.close();
});

test('whoever signs in at one page is before all of the browser’s, and sees what happens', async () => {
  const context = await visitor();
  const first = await signIn(context, await world.tenant('finn'));
  await first.getByText('Live', { exact: true }).waitFor();
  await first.getByRole('banner').getByText('finn', { exact: true }).waitFor();
  const { url } = await world.ask('POST', '/v1/login-links', undefined);
  const second = await context.newPage();
  await second.goto(url);
  for (const page of [second, first]) {
    await page.getByRole('banner').getByText('admin', { exact: true }).waitFor();
    await page.getByText('Live', { exact: true }).waitFor();
  }
  const { id } = await world.create('by-admin');
  for (const page of [second, first]) await page.getByRole('link', { name: 'by-admin' }).waitFor();
  await world.ask('DELETE', `/v1/sessions/${id}`);
  wellBehaved(context);
  await context.close();
});

test('when a sign-in is over, what was typed stays, and goes on behind another', async () => {
  const lasting = await world.tenant('cleo');
  const removed = await world.ask('POST', '/v1/tenants/cleo/tokens', { label: 'removed' });
  const context = await visitor();
  const page = await signIn(context, removed.token);
  await page.getByRole('button', { name: 'Start a session' }).first().click();
  await page.getByLabel('Name', { exact: true }).fill('typed-before');
  const again = page.getByRole('dialog', { name: 'Sign in again' });
  const goOn = async (token) => {
    await again.getByLabel('Token', { exact: true }).fill(token);
    await again.getByRole('button', { name: 'Go on' }).click();
    await again.waitFor({ state: 'detached' });
  };
  await world.ask('DELETE', `/v1/tenants/cleo/tokens/${removed.id}`);
  await again.waitFor();
  // This one is over by itself. What takes a page its time, loading, is behind us.
  await goOn(await world.token('cleo', { expires_s: 4 }));
  await again.waitFor();
  await goOn(lasting);
  assert.equal(await page.getByLabel('Name', { exact: true }).inputValue(), 'typed-before');
  await page.getByText('Live', { exact: true }).waitFor();
  await world.create('made-elsewhere', { tenant: 'cleo' });
  await page.keyboard.press('Escape');
  await page.getByRole('link', { name: 'made-elsewhere' }).waitFor();
  wellBehaved(context);
  await context.close();
});

test('what is late closes no other dialog, and a form takes the templates that come', async () => {
  const context = await visitor();
  const token = await world.tenant('ivy');
  await world.create('slow', { tenant: 'ivy' });
  const release = {};
  const holds = async (name, url, method) => {
    const held = new Promise((resolve) => (release[name] = resolve));
    await context.route(url, async (route) => {
      if (route.request().method() === method) await held;
      await route.continue();
    });
  };
  await holds('templates', '**/v1/templates', 'GET');
  await holds('change', '**/v1/sessions/*', 'PATCH');
  const page = await signIn(context, token);
  await page.getByRole('button', { name: 'Start a session' }).first().click();
  await page.getByText('There is no template to start from').waitFor();
  release.templates();
  await page.getByLabel('Name', { exact: true }).fill('quick');
  await page.getByRole('dialog').getByRole('button', { name: 'Start', exact: true }).click();
  await page.getByRole('heading', { level: 1, name: 'quick' }).waitFor();

  const rename = page.getByRole('button', { name: 'Rename quick' });
  await rename.click();
  await page.getByLabel('Name', { exact: true }).fill('quicker');
  await page.getByRole('dialog').getByRole('button', { name: 'Rename' }).click();
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Change labels' }).click();
  await page.getByRole('textbox', { name: 'Labels' }).fill('team=typed');
  release.change();
  await page.getByRole('heading', { level: 1, name: 'quicker' }).waitFor();
  assert.equal(await page.getByRole('textbox', { name: 'Labels' }).inputValue(), 'team=typed');
  await page.getByRole('dialog').getByRole('button', { name: 'Set' }).click();
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  wellBehaved(context);
  await context.close();
});

test('who can’t be signed out is told so', async () => {
  const context = await visitor();
  const page = await signIn(context, await world.tenant('jon'));
  await page.route('**/v1/logout', (route) => route.abort());
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'You are still signed in' }).waitFor();
  assert.deepEqual(serious(await findings(page)), []);
  await page.getByRole('button', { name: 'Close' }).click();
  await context.close();
});

test('signing out ends it in every page of the browser, and on the server', async () => {
  const token = await world.tenant('dora');
  const context = await visitor();
  const first = await signIn(context, token);
  const second = await context.newPage();
  await second.goto(world.url);
  await second.getByRole('heading', { name: 'Sessions', level: 1 }).waitFor();
  const cookies = await context.cookies();
  await first.getByRole('button', { name: 'Sign out' }).click();
  await first.getByLabel('Token', { exact: true }).waitFor();
  await second.getByLabel('Token', { exact: true }).waitFor();
  // Who kept the cookie has nothing.
  await context.addCookies(cookies);
  const answer = await context.request.get(`${world.url}/v1/self`);
  assert.equal(answer.status(), 401);
  await context.close();
});

test('another site’s page can change nothing with the cookie', async () => {
  const token = await world.tenant('eve');
  const context = await visitor();
  const page = await signIn(context, token);
  const status = await page.evaluate(async () => {
    const answer = await fetch('/v1/sessions', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: '{"template": "minimal"}',
    });
    return [answer.status, (await answer.json()).reason];
  });
  assert.deepEqual(status, [403, 'cross-site']);
  await context.close();
});
