// SPDX-License-Identifier: Apache-2.0
// Numbers and times as people read them, always with their unit.

const KIB = 1024;
const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];

// Three digits at most: 812 bytes, 4.1 KiB, 59 MiB. Powers of 1024.
export function bytes(n) {
  if (n === null || n === undefined) return '–';
  let unit = 0;
  while (n >= 999.5 && unit < UNITS.length - 1) {
    n /= KIB;
    unit++;
  }
  return `${unit > 0 && n < 9.95 ? n.toFixed(1) : Math.round(n)} ${UNITS[unit]}`;
}

// Milliseconds with the digits that matter: 0.4 ms, 16.2 ms, 812 ms, 3.4 s, 2 min 10 s.
export function ms(n) {
  if (n === null || n === undefined) return '–';
  if (n < 99.95) return `${n.toFixed(1)} ms`;
  if (n < 999.5) return `${Math.round(n)} ms`;
  if (n < 59950) return `${(n / 1000).toFixed(n < 9950 ? 2 : 1)} s`;
  return span(n / 1000);
}

const SPANS = [
  [86400, 'd', 3600, 'h'],
  [3600, 'h', 60, 'min'],
  [60, 'min', 1, 's'],
];

// Seconds, in two units at most: 45 s, 2 min 10 s, 3 h, 12 d 4 h.
export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  for (const [big, name, small, smallName] of SPANS) {
    if (s < big) continue;
    const rest = s >= big * 20 ? 0 : Math.floor((s % big) / small);
    return `${Math.floor(s / big)} ${name}${rest ? ` ${rest} ${smallName}` : ''}`;
  }
  return `${s} s`;
}

// One unit, for columns.
export function brief(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  for (const [big, name] of SPANS) if (s >= big) return `${Math.floor(s / big)} ${name}`;
  return `${s} s`;
}

export function timer(seconds) {
  return seconds ? span(seconds) : 'never';
}

const clock = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
});
const dayClock = new Intl.DateTimeFormat(undefined, {
  day: 'numeric',
  month: 'short',
  hour: '2-digit',
  minute: '2-digit',
  hourCycle: 'h23',
});
const full = new Intl.DateTimeFormat(undefined, {
  dateStyle: 'medium',
  timeStyle: 'medium',
  hourCycle: 'h23',
});

export const timeOfDay = (t) => clock.format(new Date(t));
export const fullTime = (t) => full.format(new Date(t));

// Today's by the clock alone.
export function when(t) {
  const date = new Date(t);
  return date.toDateString() === new Date().toDateString() ? clock.format(date) : dayClock.format(date);
}

export function percent(share) {
  if (share === null || share === undefined) return '–';
  return `${share > 0 && share < 0.0995 ? (share * 100).toFixed(1) : Math.round(share * 100)} %`;
}

export function count(n, one, many = `${one}s`) {
  return `${n.toLocaleString('en')} ${n === 1 ? one : many}`;
}
