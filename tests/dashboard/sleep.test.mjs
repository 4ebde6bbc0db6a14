// SPDX-License-Identifier: Apache-2.0
// What takes long enough to be looked at: a page that is reloaded in the middle of a park, and a park
// that is called off.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inState, launch, openSession, person, printed, rowOf, runCommand, signIn, wellBehaved } from './browser.mjs';
import { World } from './world.mjs';

let world;
let browser;
let context;
let page;

// What doesn't compress, compressed as hard as can be, takes seconds.
const FILL = 'head -c 60000000 /dev/urandom > /noise';

before(async () => {
  world = await World.open({ sections: { engine: { zstd_level: 19, workers: 1 } } });
  browser = await launch();
  context = await person(browser, world);
  page = await signIn(context, await world.adminToken());
  const { id } = await world.create('heavy');
  const { exit_status: status } = await world.exec(id, FILL);
  assert.equal(status, 0);
});
after(async () => {
  await browser?.close();
  await world?.close();
});

test('a park that runs is called off, and the guest runs on', async () => {
  await openSession(page, 'heavy');
  await page.getByRole('button', { name: 'Park', exact: true }).click();
  await page.getByRole('button', { name: 'Call the park off' }).click();
  await page.getByText(/^Park called off in/).waitFor();
  await page.locator('.now').getByText('Running').waitFor();
  const run = await runCommand(page, 'wc -c < /noise');
  await printed(run, '60000000');
});

test('a page that is reloaded in the middle of a park shows it, and its end', async () => {
  await page.getByRole('link', { name: 'Torpor' }).click();
  await rowOf(page, 'heavy').getByRole('button', { name: 'Park heavy' }).click();
  await inState(page, 'heavy', 'parking');
  await page.reload();
  await inState(page, 'heavy', 'parking');
  await rowOf(page, 'heavy').getByRole('button', { name: 'Call off heavy' }).waitFor();
  await inState(page, 'heavy', 'parked');
  // What began with the old page was carried out.
  assert.equal((await world.session('heavy')).state, 'parked');
  await rowOf(page, 'heavy').getByRole('button', { name: 'Resume heavy' }).click();
  await inState(page, 'heavy', 'running');
  wellBehaved(context);
});
