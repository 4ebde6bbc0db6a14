// SPDX-License-Identifier: Apache-2.0
// Requests to torpord.
import { noteHostTime } from './clock.js';
import { offline, Problem } from './problem.js';
import { readEvents } from './sse.js';

let signedOut = () => {};
let actingFor = null; // a tenant, for the admin

export const onSignedOut = (hook) => {
  signedOut = hook;
};
export const actFor = (tenant) => {
  actingFor = tenant;
};

const PROBLEM = 'application/problem+json';

async function problemOf(answer) {
  const isProblem = answer.headers.get('Content-Type')?.startsWith(PROBLEM);
  const said = isProblem ? await answer.json() : { title: answer.statusText };
  return new Problem({ ...said, status: answer.status });
}

async function send(method, path, { body, headers = {}, signal, tenant = actingFor } = {}) {
  const all = { ...headers };
  if (body !== undefined) all['Content-Type'] = 'application/json';
  if (method !== 'GET') all['Torpor-Dashboard'] = '1';
  if (tenant) all['Torpor-Tenant'] = tenant;
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: all,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store',
      credentials: 'same-origin',
      signal,
    });
  } catch (err) {
    throw err.name === 'AbortError' ? err : offline(err);
  }
  noteHostTime(answer.headers.get('Date'));
  if (answer.ok) return answer;
  const problem = await problemOf(answer);
  if (answer.status === 401) signedOut();
  throw problem;
}

// The answer's body: an object, or null. Throws a Problem.
export async function call(method, path, options) {
  const answer = await send(method, path, options);
  if (answer.status === 204) return null;
  try {
    return await answer.json();
  } catch (err) {
    throw offline(err);
  }
}

// The same for an answer of events: event(type, data) for each, until it ends.
export async function callEvents(method, path, options, event) {
  const headers = { ...options.headers, Accept: 'text/event-stream' };
  const answer = await send(method, path, { ...options, headers });
  try {
    await readEvents(answer.body, ({ type, data }) => event(type, JSON.parse(data)));
  } catch (err) {
    throw err.name === 'AbortError' ? err : offline(err);
  }
}

export const get = (path, options) => call('GET', path, options);
export const post = (path, body = {}, options = {}) => call('POST', path, { ...options, body });
export const patch = (path, body, options = {}) => call('PATCH', path, { ...options, body });
export const remove = (path, options) => call('DELETE', path, options);

export const sessionPath = (id, rest = '') => `/v1/sessions/${encodeURIComponent(id)}${rest}`;
