// SPDX-License-Identifier: Apache-2.0
// How it looks and who can use it: every page in light, dark and on a narrow screen, kept as pictures,
// looked over by axe-core, without anything beside the screen or jumping; and all of it by keyboard.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  DARK,
  findings,
  inState,
  launch,
  LIGHT,
  NARROW,
  openSession,
  person,
  runCommand,
  serious,
  signIn,
  wellBehaved,
} from './browser.mjs';
import { figure, outDir, until, World } from './world.mjs';

let world;
let browser;
let token;

const NAMES = ['atlas-web', 'atlas-db', 'notebook', 'review-1482', 'course-01', 'playground'];

// Sessions that a person might have: of some age, some parked, one forked, one in trouble.
async function furnish() {
  for (const [i, name] of NAMES.entries()) {
    const { id } = await world.create(name, { labels: { team: i < 2 ? 'atlas' : 'boreas' }, idle_s: 1800 });
    await world.exec(id, `head -c ${(i + 1) * 3000000} /dev/urandom > /data`);
    if (i % 3 === 1) await world.ask('POST', `/v1/sessions/${id}/park`);
  }
  const { id } = await world.session('atlas-web');
  await world.ask('POST', `/v1/sessions/${id}/park`);
  await world.ask('POST', `/v1/sessions/${id}/resume`);
  await world.ask('POST', `/v1/sessions/${id}/checkpoint`, { name: 'before-upgrade' });
  await world.ask('POST', `/v1/sessions/${id}/fork`, { names: ['atlas-try'], image: 'before-upgrade' });
  await world.tenant('ada');
  await world.tenant('bob');
}

before(async () => {
  world = await World.open();
  browser = await launch();
  token = await world.adminToken();
  await furnish();
});
after(async () => {
  await browser?.close();
  await world?.close();
});

const all = [];

async function look(page, mode, name, { full = true } = {}) {
  await page.evaluate(() => document.fonts.ready);
  await page.screenshot({ path: join(outDir(), `${mode}-${name}.png`), fullPage: full });
  const found = await findings(page);
  all.push(...found);
  assert.deepEqual(serious(found), [], `${mode} ${name}`);
  const beside = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(beside <= 0, `${mode} ${name}: ${beside} px lie beside the screen`);
}

const measured = (page) => page.locator('.memory').getByText('shared').first().waitFor();

for (const [mode, options] of Object.entries({ light: LIGHT, dark: DARK, narrow: NARROW }))
  test(`every page, ${mode}`, async () => {
    const context = await person(browser, world, options);
    let page = await context.newPage();
    await page.goto(world.url);
    await page.getByLabel('Token', { exact: true }).waitFor();
    await look(page, mode, 'signin');
    await page.close();

    page = await signIn(context, token);
    await inState(page, 'atlas-web', 'running');
    await measured(page);
    await look(page, mode, 'sessions');
    if (mode !== 'narrow') {
      await page.getByRole('button', { name: 'Cards' }).click();
      await page.locator('.cards').waitFor();
      await look(page, mode, 'cards');
      await page.getByRole('button', { name: 'Table' }).click();
    }
    await page.getByRole('button', { name: 'More for atlas-web' }).click();
    await look(page, mode, 'menu', { full: false });
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Start a session' }).click();
    for (const summary of await page.locator('dialog summary').all()) await summary.click();
    await look(page, mode, 'start', { full: false });
    await page.keyboard.press('Escape');
    await page.getByLabel('Search by name, id, template or label').fill('nothing like that');
    await page.getByText('No session is like that').waitFor();
    await look(page, mode, 'nothing');
    await page.getByRole('button', { name: 'Show all' }).click();

    await openSession(page, 'atlas-web');
    await runCommand(page, 'uname -sr; echo "no such thing" >&2; ls /');
    await page.locator('.family').getByText('before-upgrade').waitFor();
    await page.getByRole('figure').filter({ hasText: 'Processor' }).locator('canvas').waitFor();
    await look(page, mode, 'session');
    await page.getByRole('button', { name: 'Fork …' }).click();
    await look(page, mode, 'fork', { full: false });
    await page.keyboard.press('Escape');
    await page.getByRole('group', { name: 'Actions' }).getByRole('button', { name: 'Park' }).click();
    await page.getByText(/^Parked in/).waitFor();
    await look(page, mode, 'parked');
    await page.getByRole('group', { name: 'Actions' }).getByRole('button', { name: 'Resume' }).click();
    await page.getByText(/^Resumed in/).waitFor();

    await page.getByRole('link', { name: 'Pool and host' }).click();
    await page.getByRole('region', { name: 'How long it took' }).getByText('p95').first().waitFor();
    await look(page, mode, 'pool');
    await page.getByRole('link', { name: 'Admin' }).click();
    await page.getByRole('link', { name: 'ada', exact: true }).click();
    await page.getByText('Tokens', { exact: false }).first().waitFor();
    await page.getByRole('cell', { name: 'test', exact: true }).waitFor();
    await look(page, mode, 'admin');
    await page.getByRole('button', { name: 'Build a template' }).click();
    await look(page, mode, 'build', { full: false });
    await page.keyboard.press('Escape');
    wellBehaved(context);
    await context.close();
  });

// A third of what it would be as PNG.
async function picture(page, name) {
  await page.mouse.move(0, 0);
  // What waits for an answer moves until that is there.
  await until('nothing moves', () => page.evaluate(() => document.getAnimations().length === 0));
  const shot = await page.screenshot();
  const blank = await browser.newPage();
  const webp = await blank.evaluate(async (data) => {
    const image = new Image();
    image.src = `data:image/png;base64,${data}`;
    await image.decode();
    const canvas = Object.assign(document.createElement('canvas'), { width: image.width, height: image.height });
    canvas.getContext('2d').drawImage(image, 0, 0);
    return canvas.toDataURL('image/webp', 0.9).split(',')[1];
  }, shot.toString('base64'));
  await blank.close();
  writeFileSync(join(outDir(), `${name}.webp`), Buffer.from(webp, 'base64'));
}

// docs/img/dashboard-*.webp are copies of these.
test('pictures for the README', async () => {
  const view = { viewport: { width: 1120, height: 640 } };
  const light = await person(browser, world, { ...LIGHT, ...view });
  let page = await signIn(light, token);
  for (const name of ['notebook', 'review-1482']) {
    await page.getByRole('button', { name: `Park ${name}` }).click();
    await inState(page, name, 'parked');
  }
  await page.getByRole('button', { name: 'Resume atlas-db' }).click();
  await inState(page, 'atlas-db', 'running');
  await until('all that run are measured', async () => (await page.getByText('not measured yet').count()) === 0);
  await picture(page, 'dashboard-sessions');
  await light.close();

  const dark = await person(browser, world, { ...DARK, ...view });
  page = await signIn(dark, token);
  await openSession(page, 'atlas-web');
  await runCommand(page, 'uname -sr; uptime');
  await page.getByRole('group', { name: 'Actions' }).getByRole('button', { name: 'Park' }).click();
  await page.getByText(/^Parked in/).waitFor();
  await page.evaluate(() => document.activeElement.blur());
  await picture(page, 'dashboard-session');
  await page.getByRole('group', { name: 'Actions' }).getByRole('button', { name: 'Resume' }).click();
  await page.getByText(/^Resumed in/).waitFor();
  await dark.close();
});

test('nothing jumps while the page comes', async () => {
  const context = await person(browser, world);
  await (await signIn(context, token)).close();
  const page = await context.newPage();
  await page.addInitScript(() => {
    globalThis.shifts = [];
    new PerformanceObserver((list) => {
      for (const { value, sources } of list.getEntries())
        globalThis.shifts.push([value, sources.map(({ node }) => node?.className ?? node?.nodeName)]);
    }).observe({ type: 'layout-shift', buffered: true });
  });
  for (const path of ['/', '/#/pool', '/#/admin']) {
    await page.goto(world.url + path);
    const more = page.waitForResponse((response) => response.url().includes('/assets/more-'));
    await page.reload();
    await page.getByRole('heading', { level: 1 }).waitFor();
    await more;
    // With what comes every five seconds.
    await page.waitForTimeout(6000);
    const shifts = await page.evaluate(() => globalThis.shifts);
    const sum = shifts.reduce((total, [value]) => total + value, 0);
    figure(`shift.${path}`, sum.toFixed(4), 'of layout shift', 0.05);
    assert.ok(sum < 0.05, JSON.stringify(shifts));
  }
  await context.close();
});

// Tab, until it is on what has that name.
async function tabTo(page, name, most = 80) {
  for (let i = 0; i < most; i++) {
    await page.keyboard.press('Tab');
    const here = await page.evaluate(() => {
      const { activeElement: at } = document;
      return at.getAttribute('aria-label') ?? at.textContent.trim();
    });
    if (here === name) return;
  }
  assert.fail(`${name} wasn't reached by Tab`);
}

test('all of it by keyboard', async () => {
  const context = await person(browser, world);
  const page = await context.newPage();
  await page.goto(world.url);
  await page.getByLabel('Token', { exact: true }).waitFor();
  await page.keyboard.type(token);
  await page.keyboard.press('Enter');
  await inState(page, 'playground', 'running');

  await tabTo(page, 'Park playground');
  await page.keyboard.press('Enter');
  await inState(page, 'playground', 'parked');
  // The focus stays where it was, on what the button has become.
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Resume playground');
  await page.keyboard.press('Enter');
  await inState(page, 'playground', 'running');

  await tabTo(page, 'More for playground');
  await page.keyboard.press('Enter');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowDown');
  assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), 'Fork …');
  await page.keyboard.press('Enter');
  const form = page.getByRole('dialog', { name: 'Fork playground' });
  await form.waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.name), 'count');
  // The focus is back in its place when the dialog goes, and not a frame later.
  await page.evaluate(() => {
    globalThis.after = new Promise((resolve) => {
      const gone = () =>
        document.querySelector('dialog') ?? resolve(document.activeElement.getAttribute('aria-label'));
      new MutationObserver(gone).observe(document.body, { childList: true, subtree: true });
    });
  });
  await page.keyboard.press('Escape');
  assert.equal(await page.evaluate(() => globalThis.after), 'More for playground');

  // A page that is gone to has the focus, and says its name.
  await page.evaluate(() => document.querySelector('nav a[href*="pool"]').focus());
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { level: 1, name: 'Pool and host' }).waitFor();
  await until('the page has the focus', () => page.evaluate(() => document.activeElement.id === 'main'));
  assert.equal(await page.title(), 'Pool and host · Torpor');
  await context.close();
});

test('nothing moves for those who want it so', async () => {
  for (const [reducedMotion, moving] of [['no-preference', 1], ['reduce', 0]]) {
    const context = await person(browser, world, { ...LIGHT, reducedMotion });
    const page = await signIn(context, token);
    await page.getByText('Live', { exact: true }).waitFor();
    // Something that moves where that is wanted.
    const found = await page.evaluate(() => {
      const working = Object.assign(document.createElement('p'), { className: 'working' });
      document.body.append(working);
      return working.getAnimations({ subtree: true }).length;
    });
    assert.equal(found, moving, reducedMotion);
    await context.close();
  }
});

test('axe-core found nothing serious', () => {
  figure('axe.serious', serious(all).length, 'serious or critical findings', 0);
  figure('axe.all', all.length, `findings in all${all.map(({ id, impact }) => `; ${id} (${impact})`).join('')}`);
});
