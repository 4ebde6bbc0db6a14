// SPDX-License-Identifier: Apache-2.0
// Templates: a host without any, one that is built before one's eyes, one whose guests don't start.
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launch, person, signIn, wellBehaved } from './browser.mjs';
import { environment, World } from './world.mjs';

let browser;

before(async () => {
  browser = await launch();
});
after(() => browser?.close());

test('without a template the page says how to get one, builds it, and starts from it', async () => {
  const world = await World.open({ empty: true });
  try {
    const context = await person(browser, world);
    const page = await signIn(context, await world.adminToken());
    await page.getByText('There is no template yet').waitFor();
    await page.getByRole('link', { name: 'Admin' }).click();
    await page.getByText('No templates yet').waitFor();
    await page.getByRole('button', { name: 'Build a template' }).click();
    const form = page.getByRole('dialog', { name: 'Build a template' });
    await form.getByLabel('Name', { exact: true }).fill('minimal');
    await form.getByLabel('Kernel', { exact: true }).fill('/nowhere/vmlinuz');
    await form.getByRole('button', { name: 'Build it' }).click();
    await form.getByRole('alert').getByText('/nowhere/vmlinuz').first().waitFor();

    const guest = environment('TORPOR_GUEST');
    await form.getByLabel('Kernel', { exact: true }).fill(join(guest, 'vmlinuz'));
    await form.getByLabel('Initial RAM disk').fill(join(guest, 'initrd.img'));
    await form.getByRole('button', { name: 'Build it' }).click();
    await form.getByRole('status').waitFor();
    // Who looks at it from elsewhere sees how far it is.
    const other = await context.newPage();
    await other.goto(`${world.url}/#/admin`);
    await other.getByRole('cell', { name: /Being built: / }).waitFor();
    await form.waitFor({ state: 'detached' });
    for (const each of [page, other]) await each.getByRole('row', { name: /^minimal (Ready|Not in use)/ }).waitFor();
    await page.getByRole('link', { name: 'Sessions' }).click();
    await page.locator('.session-list').getByRole('button', { name: 'Start a session' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Start', exact: true }).click();
    await page.getByText(/^Started in/).waitFor();
    wellBehaved(context);
    await context.close();
  } finally {
    await world.close();
  }
});

test('a template whose guests don’t start is shown as degraded, with the reason, until they do', async () => {
  const dir = environment('DASHBOARD_STATE');
  const broken = `${dir}-broken`;
  const qemu = `${dir}-qemu`;
  writeFileSync(qemu, `#!/bin/sh\n[ ! -e '${broken}' ] || exit 1\nexec qemu-system-x86_64 "$@"\n`);
  chmodSync(qemu, 0o755);
  const world = await World.open({
    sections: { engine: { qemu }, pool: { degraded_after: 2, backoff_min: '100ms', backoff_max: '1s' } },
  });
  try {
    const context = await person(browser, world);
    const page = await signIn(context, await world.adminToken(), '/#/pool');
    // What waits is used up; what should follow can't be started.
    await page.getByRole('row', { name: /^minimal Ready 1 of 1 warm guests wait 1 of 1 shells wait/ }).waitFor();
    writeFileSync(broken, '');
    await world.create('one');
    const row = page.getByRole('row', { name: /^minimal Degraded/ });
    await row.waitFor();
    await row.getByText(/QEMU ended/).waitFor();
    await row.getByText(/failed start/).waitFor();
    // And who would start one is told before.
    await page.getByRole('link', { name: 'Sessions' }).click();
    await page.getByRole('button', { name: 'Start a session' }).click();
    await page.getByText('Starts of this template fail at the moment:').waitFor();
    await page.keyboard.press('Escape');
    // A page whose list is on its way meanwhile.
    const late = await context.newPage();
    let release;
    const held = new Promise((resolve) => (release = resolve));
    const asked = new Promise((resolve) => {
      late.route('**/v1/templates', async (route) => {
        const response = await route.fetch();
        resolve();
        await held;
        await route.fulfill({ response });
      });
    });
    await late.goto(`${world.url}/#/admin`);
    await asked;
    rmSync(broken);
    await page.getByRole('link', { name: 'Pool and host' }).click();
    await page.getByRole('row', { name: /^minimal Ready.* 1 of 1 warm guests wait 1 of 1 shells wait/ }).waitFor();
    release();
    await late.getByRole('row', { name: /^minimal Ready/ }).waitFor();
    wellBehaved(context);
    await context.close();
  } finally {
    rmSync(broken, { force: true });
    await world.close();
    rmSync(qemu);
  }
});
