// SPDX-License-Identifier: Apache-2.0
// Which sessions are shown, and in what order.
import { usage } from './data.js';
import { stateOf } from './states.js';

const texts = new WeakMap(); // session -> what a search looks in

function textOf(session) {
  let text = texts.get(session);
  if (!text) {
    const labels = Object.entries(session.labels).map(([key, value]) => `${key}=${value}`);
    text = [session.name, session.id, session.template, ...labels].join('\n').toLowerCase();
    texts.set(session, text);
  }
  return text;
}

const memory = ({ id, guest }) => (guest ? (usage.get(id)?.private ?? 0) : -1);
const active = ({ id, last_active: time }) => Math.max(usage.get(id)?.active ?? 0, Date.parse(time));

const SORTS = {
  name: ({ name }) => name.toLowerCase(),
  state: ({ state }) => stateOf(state).word,
  template: ({ template }) => template,
  memory,
  image: ({ image }) => image?.bytes ?? -1,
  active,
  created: ({ created }) => created,
};

export const DEFAULT_SORT = '-created';

// Orders, in the words of a list to choose from.
export const ORDERS = [
  ['-created', 'Newest first'],
  ['created', 'Oldest first'],
  ['name', 'By name'],
  ['state', 'By state'],
  ['template', 'By template'],
  ['-memory', 'Most memory first'],
  ['-image', 'Largest image first'],
  ['-active', 'Last used first'],
  ['active', 'Longest idle first'],
];

function order(key, down) {
  const sign = down ? -1 : 1;
  const keys = new Map();
  const keyOf = (session) => {
    if (!keys.has(session)) keys.set(session, key(session));
    return keys.get(session);
  };
  return (a, b) => {
    const [x, y] = [keyOf(a), keyOf(b)];
    if (x !== y) return x < y ? -sign : sign;
    return a.id < b.id ? -1 : 1;
  };
}

export function choose(all, { q = '', state = '', template = '', sort = DEFAULT_SORT }) {
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = [];
  for (const session of all) {
    if (state && stateOf(session.state).group !== state) continue;
    if (template && session.template !== template) continue;
    if (words.length > 0) {
      const text = textOf(session);
      if (!words.every((word) => text.includes(word))) continue;
    }
    shown.push(session);
  }
  const down = sort.startsWith('-');
  const key = down ? sort.slice(1) : sort;
  return shown.sort(order(Object.hasOwn(SORTS, key) ? SORTS[key] : SORTS.created, down));
}

// What there is, in figures.
export function sum(all) {
  const sums = { '': 0, awake: 0, asleep: 0, trouble: 0, memory: 0, images: 0 };
  for (const session of all) {
    const { group } = stateOf(session.state);
    sums['']++;
    sums[group]++;
    if (session.guest) sums.memory += usage.get(session.id)?.private ?? 0;
    if (group === 'asleep') sums.images += session.image?.bytes ?? 0;
  }
  return sums;
}
