// SPDX-License-Identifier: Apache-2.0
// What the page knows: read once, then kept by the event stream.
import { actFor, get, onSignedOut, post, sessionPath } from './api.js';
import { cell } from './cell.js';
import { collection } from './collection.js';
import { link, listen, reconnect, settled } from './live.js';
import { route } from './router.js';

const PAGE = 1000;
const MOST = 5000; // sessions that a browser is asked to hold
const AGAIN_MS = 2000; // until what couldn't be read is asked for again

export const self = cell(null); // who is signed in, as /v1/self says
// unknown: not asked yet; out; in; over: was in, and what is shown stays until somebody is again
export const auth = cell('unknown');
export const sessions = collection();
export const usage = collection(); // by session: {id, private, shared, cpu, active, commands}
export const templates = collection('name');
export const pool = collection('name'); // {name, state, reason, pool}
export const host = cell(null); // memory and counts, for the admin
export const loaded = cell({ state: 'loading', more: false, problem: null }); // of the sessions
export const changes = cell(0); // of tenants: counts what made lists old

let listening = false;
let reading = 0; // which reading of the list was begun last: what an older one brings isn't wanted any more
let early = null; // what to do of events that came while the lists were on their way
let lookedAt = null; // the tenant
let read = false; // the list is asked for behind the stream's beginning: nothing falls between
let gap = false; // events are missing: what is shown is to be read anew
let timer = 0;

// For whom: one's own tenant, or the one that the admin looks at.
export const tenant = () =>
  self.value?.admin ? route.value.query.tenant || self.value.tenant : self.value?.tenant;

// --- sessions ---

function applySession(session, event) {
  if (session.tenant !== tenant()) return;
  if (session.state === 'destroyed') return sessions.remove(session.id);
  const known = sessions.latest(session.id);
  if (known && Date.parse(known.changed) > Date.parse(session.changed)) return;
  sessions.put(session.id, { ...session, event: event ?? known?.event });
}

// An answer has it before the event does; that for a single session has its memory too.
export function noteSession(session) {
  if (!session?.id) return;
  applySession(session);
  noteUsage(session);
}

// As it is now. What came of it while it was asked for is newer than the answer.
export async function readSession(id) {
  const before = sessions.latest(id);
  const session = await get(sessionPath(id));
  if (sessions.latest(id) === before) applySession(session);
  noteUsage(session);
}

function noteUsage(session) {
  const { private_bytes: own, resident_bytes: all } = session.guest ?? {};
  if (own === undefined) return;
  const { id } = session;
  const figures = { id, private: own, shared: all - own, active: Date.parse(session.last_active) };
  usage.put(id, { cpu: null, commands: 0, ...usage.latest(id), ...figures });
}

async function readSessions() {
  const all = [];
  let cursor = null;
  do {
    const more = cursor ? `&cursor=${encodeURIComponent(cursor)}` : '';
    const page = await get(`/v1/sessions?limit=${PAGE}${more}`);
    all.push(...page.sessions);
    cursor = page.next;
  } while (cursor && all.length < MOST);
  return { all, more: cursor !== null };
}

export async function reload() {
  const mine = ++reading;
  early = [];
  if (loaded.value.state !== 'there') loaded.set({ state: 'loading', more: false, problem: null });
  try {
    const [{ all, more }, { templates: known }] = await Promise.all([readSessions(), get('/v1/templates')]);
    if (mine !== reading) return;
    sessions.replace(all);
    templates.replace(known);
    for (const one of known) if (one.pool) pool.put(one.name, one);
    loaded.set({ state: 'there', more, problem: null });
    gap = false;
  } catch (problem) {
    if (mine !== reading) return;
    if (loaded.value.state !== 'there') loaded.set({ state: 'failed', more: false, problem });
    else missed();
  }
  const held = early;
  early = null;
  for (const apply of held ?? []) apply();
}

// --- events ---

function applyUsage({ sessions: figures, host: all }) {
  const gone = new Set(usage.keys());
  for (const [id, [own, shared, cpu, active, commands]] of Object.entries(figures)) {
    gone.delete(id);
    usage.put(id, { id, private: own, shared, cpu, active, commands });
  }
  for (const id of gone) usage.remove(id);
  if (all) host.set(all);
}

function applyTemplate(template) {
  if (template.state === 'removed') {
    templates.remove(template.name);
    pool.remove(template.name);
    return;
  }
  templates.put(template.name, template);
  if (template.pool) pool.put(template.name, template);
}

// How a template is, is part of both.
function applyPool(view) {
  pool.put(view.name, { ...pool.latest(view.name), ...view });
  const known = templates.latest(view.name);
  if (known) templates.put(view.name, { ...known, ...view });
}

const afterList = (apply) => (data, id) => (early ? early.push(() => apply(data, id)) : apply(data, id));

const APPLY = {
  session: afterList(applySession),
  template: afterList(applyTemplate),
  pool: afterList(applyPool),
  tenant: () => changes.set(changes.value + 1),
  usage: applyUsage,
  reset: reload,
};

// --- signing in and out ---

async function enter(who) {
  const other = self.value && (self.value.tenant !== who.tenant || self.value.admin !== who.admin);
  self.set(who);
  if (other) forget();
  lookedAt = tenant();
  actFor(who.admin ? lookedAt : null);
  auth.set('in');
  if (!listening) begin();
  await settled(1000);
  read = true;
  await reload();
}

function forget() {
  reading++;
  early = null;
  sessions.replace([]);
  usage.replace([]);
  templates.replace([]);
  pool.replace([]);
  host.set(null);
  loaded.set({ state: 'loading', more: false, problem: null });
}

// {token} or {code}; throws a Problem.
export async function signIn(credential) {
  const who = await post('/v1/login', credential, { tenant: null });
  read = false;
  if (listening) reconnect(true);
  else begin(true);
  others.postMessage('in');
  await enter(who);
}

export async function signOut() {
  await post('/v1/logout', undefined, { tenant: null });
  others.postMessage('out');
  leave();
  reconnect(true);
}

function leave() {
  auth.set('out');
  self.set(null);
  forget();
}

// Pages of the same browser have one cookie, and so one person before them.
const others = new BroadcastChannel('torpor');
others.onmessage = ({ data }) => {
  if (data === 'out') leave();
  else if (auth.value === 'out') start();
  else if (auth.value !== 'unknown') look().catch(missed);
};

onSignedOut(() => {
  if (auth.value === 'in') auth.set('over');
});

function begin(fresh) {
  listening = true;
  listen('/v1/events?usage=5', (type, data, id) => APPLY[type]?.(data, id), fresh);
}

const look = async () => enter(await get('/v1/self', { tenant: null }));

// What is shown stays, and is read anew as soon as that can be done.
function missed() {
  gap = true;
  clearTimeout(timer);
  timer = setTimeout(() => gap && auth.value === 'in' && look().catch(missed), AGAIN_MS);
}

// A stream that is refused says that the sign-in is over; one that is taken again, that somebody is
// signed in, perhaps another; and one that couldn't go on where it was leaves a gap that only the list fills.
async function follow({ state, whole }) {
  if (state === 'refused' && auth.value === 'in') auth.set('over');
  if (state !== 'live') return;
  gap ||= !whole;
  if (auth.value === 'in' && !(read && gap)) return;
  await look();
}
link.subscribe((now) => follow(now).catch(missed));

// The admin looks at another tenant.
route.subscribe(() => {
  if (!self.value?.admin || tenant() === lookedAt) return;
  lookedAt = tenant();
  actFor(lookedAt);
  forget();
  reload();
});

// What the page begins with: who am I, if anybody?
export async function start() {
  try {
    await look();
  } catch (problem) {
    if (problem.status === 401) auth.set('out');
    else loaded.set({ state: 'failed', more: false, problem });
  }
}
