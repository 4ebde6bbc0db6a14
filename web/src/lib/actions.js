// SPDX-License-Identifier: Apache-2.0
// What can be done with sessions. What came of it is kept by session, and shown where it was asked for.
import { speak } from '../ui/said.js';
import { patch, post, remove, sessionPath } from './api.js';
import { cell } from './cell.js';
import { now } from './clock.js';
import { collection } from './collection.js';
import { noteSession, self, sessions, usage } from './data.js';
import { ms } from './format.js';
import { Problem } from './problem.js';

// By session: {op, state: 'running' | 'done' | 'failed', since, took, answer, problem, freed, at}
export const acts = collection();

//   doing, done: as the page says it of a session; method and path: of the request
export const OPS = {
  park: { doing: 'Parking', done: 'Parked', path: '/park' },
  resume: { doing: 'Resuming', done: 'Resumed', path: '/resume' },
  pause: { doing: 'Pausing', done: 'Paused', path: '/pause' },
  unpause: { doing: 'Going on', done: 'Runs on', path: '/unpause' },
  checkpoint: { doing: 'Taking a checkpoint', done: 'Checkpoint taken', path: '/checkpoint' },
  fork: { doing: 'Forking', done: 'Forked', path: '/fork' },
  cancel: { doing: 'Calling the park off', done: 'Park called off', path: '/park', method: 'DELETE' },
  destroy: { doing: 'Destroying', done: 'Destroyed', path: '', method: 'DELETE' },
};

function put(id, act) {
  acts.put(id, { ...act, id });
}

export const forgetAct = (id) => acts.remove(id);
export const noteAct = put;

// The admin may look at another tenant by then.
const forIts = ({ tenant }) => (self.value?.admin ? { tenant } : {});

function send({ path, method }, session, body) {
  const whole = sessionPath(session.id, path);
  return method === 'DELETE' ? remove(whole, forIts(session)) : post(whole, body, forIts(session));
}

function notes(op, answer) {
  if (!answer) return;
  if (op === 'fork') answer.sessions.forEach(noteSession);
  else noteSession(answer);
}

// What the server measured, else what it took from here.
export const tookOf = ({ took, answer }) => answer?.timing?.total_ms ?? took;

// Never throws: the outcome is in acts. Returns whether it was done.
export async function act(op, session, body) {
  const { id, name } = session;
  const started = performance.now();
  const before = usage.get(id);
  put(id, { op, state: 'running', since: Date.now() });
  try {
    const answer = await send(OPS[op], session, body);
    const took = performance.now() - started;
    notes(op, answer);
    const done = { op, state: 'done', took, answer, freed: op === 'park' ? before?.private : undefined };
    if (op === 'destroy') {
      sessions.remove(id);
      acts.remove(id);
    } else {
      put(id, { ...done, at: now() });
    }
    speak(`${name}: ${OPS[op].done} in ${ms(tookOf(done))}`);
    return { ok: true, ...done };
  } catch (problem) {
    // Who called a park off is told so by that, and not by the park's failure.
    if (op === 'park' && problem.code === 'cancelled') {
      if (acts.latest(id)?.op === 'park') acts.remove(id);
      return { ok: false, problem };
    }
    put(id, { op, state: 'failed', problem, at: now() });
    return { ok: false, problem };
  }
}

// What came of it meanwhile is this change, or a later one.
export async function change(session, body) {
  const before = sessions.latest(session.id);
  const answer = await patch(sessionPath(session.id), body, forIts(session));
  if (sessions.latest(session.id) === before) noteSession(answer);
}

// --- many at once ---

const ABREAST = 4;

// {op, total, done, failed: [{name, problem}], waiting: seconds or 0, running, took}
export const bulk = cell(null);
let whose = null; // who began that: nobody else goes on with it, or sees it

self.subscribe((who) => {
  if (who?.tenant === whose?.tenant && who?.admin === whose?.admin) return;
  whose = null;
  bulk.set(null);
});

const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

// A tenant may do so much a minute: then the rest waits for as long as it is told to.
async function oneOf(op, session, tell) {
  for (;;) {
    const { ok, problem } = await act(op, session);
    if (ok) return null;
    if (!(problem instanceof Problem) || problem.reason !== 'rate') return problem;
    const wait = problem.retryAfter || 1;
    if (!tell({ waiting: wait })) return problem;
    await sleep(wait);
    if (!tell({ waiting: 0 })) return problem;
  }
}

export async function actOnAll(op, chosen) {
  const started = performance.now();
  const left = [...chosen];
  const failed = [];
  const who = self.value && { ...self.value };
  const isOn = () => whose === who;
  const tell = (news) => {
    if (isOn()) bulk.set({ ...bulk.value, ...news });
    return isOn();
  };
  whose = who;
  bulk.set({ op, total: chosen.length, done: 0, failed, waiting: 0, running: true });
  const worker = async () => {
    for (let session = left.shift(); session && isOn(); session = left.shift()) {
      const problem = await oneOf(op, session, tell);
      if (problem) failed.push({ id: session.id, name: session.name, problem });
      tell({ done: bulk.value?.done + 1, failed: [...failed] });
    }
  };
  await Promise.all(Array.from({ length: ABREAST }, worker));
  const took = performance.now() - started;
  if (!tell({ running: false, took })) return;
  const good = chosen.length - failed.length;
  speak(`${OPS[op].done}: ${good} of ${chosen.length}, in ${ms(took)}`);
}
