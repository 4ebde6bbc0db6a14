// SPDX-License-Identifier: Apache-2.0
// Boots the guest once, for the template that all tests of the dashboard use.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { environment, outDir } from './world.mjs';

const state = environment('DASHBOARD_STATE');
const guest = environment('TORPOR_GUEST');
rmSync(state, { recursive: true, force: true });
mkdirSync(state, { recursive: true });
rmSync(join(outDir(), 'figures.txt'), { force: true });
const files = ['--kernel', join(guest, 'vmlinuz'), '--initrd', join(guest, 'initrd.img')];
execFileSync(environment('TORPOR'), ['--state', state, 'template', 'build', 'minimal', '--quiet', ...files], {
  stdio: 'inherit',
});
