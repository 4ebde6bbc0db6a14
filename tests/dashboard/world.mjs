// SPDX-License-Identifier: Apache-2.0
// A torpord of a test's own, with real guests, and its admin on the UNIX socket.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import http from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';

export function environment(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: run this through meson test`);
  return value;
}

export const PATIENCE_MS = 120000; // only reached by what hangs
// torpord ends a connection that is idle for 30 s, and what is asked meanwhile has no answer.
const IDLE_MS = 5000;
const newAgent = () => new http.Agent({ keepAlive: true, timeout: IDLE_MS });

async function freePort() {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

const POOL = { warm_min: 1, warm_max: 1, shells_min: 1, shells_max: 1 };

function configuration({ dir, port, pool, sections, tcp = true }) {
  const all = {
    daemon: { state_dir: join(dir, 'state'), socket: join(dir, 'socket') },
    tcp: { listen: tcp ? `127.0.0.1:${port}` : 'off', plain: 'yes' },
    ...(pool && { 'template minimal': { ...POOL, ...pool } }),
    sessions: { ttl: 'never', health_interval: 'never' },
    tenants: { requests_per_minute: 1000000 },
  };
  for (const [name, keys] of Object.entries(sections)) all[name] = { ...all[name], ...keys };
  return Object.entries(all)
    .map(([name, keys]) => `[${name}]\n${Object.entries(keys).map((pair) => pair.join(' = ')).join('\n')}\n`)
    .join('');
}

export class World {
  // `pool`: keys of [template minimal]; `sections`: of other sections of the configuration.
  static async open({ pool = {}, sections = {}, empty = false } = {}) {
    const state = environment('DASHBOARD_STATE');
    const templates = join(state, 'templates');
    assert.ok(existsSync(join(templates, 'minimal')), 'There is no template: run the test dashboard_prepare first.');
    const world = new World();
    world.dir = mkdtempSync(`${state}-`);
    world.port = await freePort();
    world.url = `http://127.0.0.1:${world.port}`;
    world.agent = newAgent();
    mkdirSync(join(world.dir, 'state'));
    if (!empty) symlinkSync(templates, join(world.dir, 'state/templates'));
    world.options = { pool: !empty && pool, sections };
    try {
      await world.start();
    } catch (err) {
      world.process.kill();
      throw err;
    }
    return world;
  }

  // Until it is ready: recovery is over, and templates are in use. Without `tcp` no page can ask it.
  async start({ tcp = true } = {}) {
    writeFileSync(join(this.dir, 'torpord.conf'), configuration({ ...this, ...this.options, tcp }));
    const log = openSync(join(this.dir, 'log'), 'a');
    this.process = spawn(environment('TORPORD'), ['--config', join(this.dir, 'torpord.conf')], {
      stdio: ['ignore', log, log],
    });
    this.ended = once(this.process, 'exit');
    const until = Date.now() + PATIENCE_MS;
    for (;;) {
      assert.equal(this.process.exitCode, null, `torpord ended; its log is ${this.dir}/log`);
      assert.ok(Date.now() < until, `torpord isn't ready; its log is ${this.dir}/log`);
      const { status } = await this.request('GET', '/readyz').catch(() => ({}));
      if (status === 200) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async stop(signal = 'SIGTERM') {
    this.process.kill(signal);
    await this.ended;
    this.agent.destroy();
    this.agent = newAgent();
  }

  // As the admin, acting for `tenant`; and as torpord's own page, which is what signing in asks for.
  request(method, path, body, tenant) {
    const headers = {
      'Torpor-Dashboard': '1',
      'Sec-Fetch-Site': 'same-origin',
      ...(body && { 'Content-Type': 'application/json' }),
      ...(tenant && { 'Torpor-Tenant': tenant }),
    };
    return new Promise((resolve, reject) => {
      const options = { socketPath: join(this.dir, 'socket'), method, path, headers, agent: this.agent };
      const request = http.request(options, (answer) => {
        const pieces = [];
        answer.on('data', (piece) => pieces.push(piece));
        answer.on('end', () => {
          const text = Buffer.concat(pieces).toString();
          resolve({ status: answer.statusCode, body: text.startsWith('{') ? JSON.parse(text) : text });
        });
      });
      request.on('error', reject);
      request.end(body && JSON.stringify(body));
    });
  }

  // The answer's body; what fails, fails the test.
  async ask(method, path, body, tenant) {
    const { status, body: answer } = await this.request(method, path, body, tenant);
    assert.ok(status < 300, `${method} ${path}: ${status} ${JSON.stringify(answer)}`);
    return answer;
  }

  async tenant(name) {
    await this.ask('POST', '/v1/tenants', { name });
    return this.token(name);
  }

  async token(name, more = {}) {
    const { token } = await this.ask('POST', `/v1/tenants/${name}/tokens`, { label: 'test', ...more });
    return token;
  }

  adminToken() {
    return this.token('default', { admin: true });
  }

  async create(name, { tenant, ...more } = {}) {
    return this.ask('POST', '/v1/sessions', { template: 'minimal', name, ...more }, tenant);
  }

  async exec(id, script, tenant) {
    return this.ask('POST', `/v1/sessions/${id}/exec`, { argv: ['sh', '-c', script] }, tenant);
  }

  async session(name, tenant) {
    const { sessions } = await this.ask('GET', `/v1/sessions?match=${name}`, undefined, tenant);
    return sessions[0];
  }

  // Ends all sessions, torpord, and what waited; then the directory goes.
  async close({ keep = false } = {}) {
    if (this.process.exitCode !== null || this.process.signalCode) await this.start();
    const { tenants } = await this.ask('GET', '/v1/tenants');
    if (!keep)
      for (const tenant of ['default', ...tenants.map(({ name }) => name)]) {
        const { sessions } = await this.ask('GET', '/v1/sessions?limit=1000', undefined, tenant);
        for (const { id } of sessions) await this.request('DELETE', `/v1/sessions/${id}`, undefined, tenant);
      }
    await this.stop();
    rmSync(this.dir, { recursive: true });
  }
}

// A figure that the test found, kept with the others and printed.
export function figure(name, value, unit, most) {
  const rounded = typeof value === 'number' ? Math.round(value * 10) / 10 : value;
  const line = `${name}: ${rounded} ${unit}${most === undefined ? '' : ` (at most ${most})`}`;
  console.log(line);
  appendFileSync(join(outDir(), 'figures.txt'), `${line}\n`);
}

export function outDir() {
  const dir = environment('DASHBOARD_OUT');
  mkdirSync(dir, { recursive: true });
  return dir;
}

// Asks until it is so; for what no event is told of.
export async function until(what, so) {
  const end = Date.now() + PATIENCE_MS;
  while (!(await so())) {
    assert.ok(Date.now() < end, `it never came to be that ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
