// SPDX-License-Identifier: Apache-2.0
// The states of a session, as the page speaks of them.

//   word: what it is called; look: warm, cold, bad or none; moving: passes by itself; group: of the filter
const STATES = {
  created: { word: 'Created', look: '', moving: true, group: 'awake' },
  starting: { word: 'Starting', look: 'warm', moving: true, group: 'awake' },
  running: { word: 'Running', look: 'warm', group: 'awake' },
  paused: { word: 'Paused', look: 'warm', group: 'awake' },
  parking: { word: 'Parking', look: 'cold', moving: true, group: 'asleep' },
  parked: { word: 'Parked', look: 'cold', group: 'asleep' },
  resuming: { word: 'Resuming', look: 'warm', moving: true, group: 'awake' },
  stopping: { word: 'Ending', look: '', moving: true, group: 'awake' },
  destroyed: { word: 'Destroyed', look: '', group: 'gone' },
  error: { word: 'Error', look: 'bad', group: 'trouble' },
};

export const GROUPS = [
  ['', 'All'],
  ['awake', 'Awake'],
  ['asleep', 'Asleep'],
  ['trouble', 'In trouble'],
];

export const stateOf = (name) => STATES[name] ?? { word: name, look: '', group: 'awake' };

export const can = {
  park: ({ state }) => state === 'running' || state === 'paused',
  cancel: ({ state }) => state === 'parking',
  resume: ({ state, image }) => state === 'parked' || (state === 'error' && image !== null),
  pause: ({ state }) => state === 'running',
  unpause: ({ state }) => state === 'paused',
  checkpoint: ({ state }) => state === 'running' || state === 'paused',
  fork: ({ state }) => state === 'running' || state === 'paused' || state === 'parked',
  exec: ({ state }) => state === 'running',
};

export const SOURCES = {
  warm: 'a warm guest that was waiting',
  shell: 'a process that was waiting',
  spawn: 'a process started for it',
};

export const FRESH = {
  clock: ['Clock', 'set to the present'],
  random: ['Randomness', 'new seed in the kernel'],
  hostname: ['Host name', 'its own'],
  'machine-id': ['Machine id', 'its own'],
};
