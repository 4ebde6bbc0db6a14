// SPDX-License-Identifier: Apache-2.0
// A real browser, and what every page must keep to in it.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { environment, PATIENCE_MS } from './world.mjs';

const require = createRequire(join(environment('DASHBOARD_WEB'), 'package.json'));
const { chromium } = require('playwright-core');
const axeSource = require('axe-core').source;

export async function launch() {
  return chromium.launch({
    executablePath: environment('CHROMIUM'),
    // Chromium's sandbox wants namespaces, which neither root nor a container has. A graphics card
    // that it emulates where there is none draws no better, and has been seen to stop.
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
  });
}

export const LIGHT = { viewport: { width: 1280, height: 860 }, colorScheme: 'light', locale: 'en-GB' };
export const DARK = { ...LIGHT, colorScheme: 'dark' };
export const NARROW = { ...LIGHT, viewport: { width: 360, height: 740 }, hasTouch: true };

// A context that keeps what its pages asked for and complained of.
export async function person(browser, world, options = LIGHT) {
  const context = await browser.newContext(options);
  const kept = { requests: [], complaints: [] };
  context.setDefaultTimeout(PATIENCE_MS);
  context.on('request', (request) => kept.requests.push(request.url()));
  context.on('weberror', (error) => kept.complaints.push(String(error.error().stack)));
  context.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) kept.complaints.push(message.text());
  });
  context.kept = kept;
  context.home = world.url;
  return context;
}

export async function signIn(context, token, path = '/') {
  const page = await context.newPage();
  await page.goto(context.home + path);
  await page.getByLabel('Token', { exact: true }).fill(token);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('banner').waitFor();
  return page;
}

// What the browser says of answers that a test brings about itself.
const BROKEN_OFF = 'net::ERR_(CONNECTION_REFUSED|INCOMPLETE_CHUNKED_ENCODING|EMPTY_RESPONSE|CONNECTION_RESET)';
const ANSWERED = new RegExp(`^Failed to load resource: (the server responded with a status of|${BROKEN_OFF})`);

// Nothing left the host, no policy was offended, nothing threw.
export function wellBehaved(context) {
  const { requests, complaints } = context.kept;
  const foreign = requests.filter((url) => !url.startsWith(`${context.home}/`) && !url.startsWith('data:'));
  assert.deepEqual(foreign, [], 'requests left the host');
  assert.deepEqual(
    complaints.filter((text) => !ANSWERED.test(text)),
    [],
    'the page complained',
  );
}

// Serious findings of axe-core, as "rule: where".
export async function findings(page) {
  await page.evaluate(axeSource);
  const { violations } = await page.evaluate(() =>
    globalThis.axe.run(document, { resultTypes: ['violations'] }),
  );
  return violations.map(({ id, impact, nodes }) => ({
    id,
    impact,
    where: nodes.map(({ target, failureSummary }) => `${target.join(' ')}: ${failureSummary}`),
  }));
}

export const serious = (found) => found.filter(({ impact }) => impact === 'serious' || impact === 'critical');

// The row or card of a session.
export const rowOf = (page, name) =>
  page.locator('[data-id]').filter({ has: page.getByRole('link', { name, exact: true }) });

export const inState = (page, name, state) => rowOf(page, name).and(page.locator(`[data-state="${state}"]`)).waitFor();

export async function openSession(page, name) {
  await rowOf(page, name).getByRole('link', { name, exact: true }).click();
  await page.getByRole('heading', { level: 1, name }).waitFor();
}

export async function runCommand(page, line) {
  await page.getByLabel('Command, for the guest’s shell').fill(line);
  await page.locator('.command button[type=submit]').click();
  const run = page.getByRole('article', { name: `Command ${line}` }).first();
  await run.getByText(/^(done in|exit status|ended by|stopped|failed)/).waitFor();
  return run;
}

// What it took may have the same digits.
export const printed = (run, text) => run.getByRole('log').filter({ hasText: text }).waitFor();
