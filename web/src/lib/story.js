// SPDX-License-Identifier: Apache-2.0
// What happened at each step of an action, told with its figures.
import { tookOf } from './actions.js';
import { bytes, count, ms } from './format.js';
import { SOURCES } from './states.js';

const wake = ({ timing }) => [
  timing.source && ['Came from', SOURCES[timing.source]],
  ['Loaded', `after ${ms(timing.loaded_ms)}`],
  ['Running', `after ${ms(timing.running_ms)}`],
  ['Fresh and ready', `after ${ms(timing.ready_ms)}`],
];

const STORIES = {
  create: ({ answer, took }) => ({
    look: 'warm',
    title: `Started in ${ms(tookOf({ answer, took }))}`,
    text:
      `A copy of the template ${answer.template}: it shares what it doesn’t change, ` +
      'and was made fresh before it was handed over.',
    steps: answer.timing && wake(answer),
  }),
  park({ answer, freed, took }) {
    const { timing } = answer;
    return {
      look: 'cold',
      title: `Parked in ${ms(tookOf({ answer, took }))}`,
      text: timing
        ? `The guest is a file of ${bytes(timing.image_bytes)} now: ${count(timing.pages, 'page')} that differ ` +
          'from its template. It has no process and uses no processor.' +
          (freed ? ` ${bytes(freed)} of memory went back to the host.` : '')
        : 'It was parked already.',
      steps: timing && [
        ['Stopped and copied', `after ${ms(timing.captured_ms)}`],
        ['Written and synced', `after ${ms(timing.durable_ms)}`],
        ['Process gone', `after ${ms(timing.gone_ms)}`],
      ],
    };
  },
  resume: ({ answer, took }) => ({
    look: 'warm',
    title: `Resumed in ${ms(tookOf({ answer, took }))}`,
    text: 'The same programs, files and counters, with the right time and fresh randomness.',
    steps: answer.timing && wake(answer),
  }),
  fork: ({ answer, took }) => ({
    look: 'warm',
    title: `${count(answer.sessions.length, 'fork')} in ${ms(tookOf({ answer, took }))}`,
    text: 'Each goes on from the same moment, with a name and an identity of its own.',
    steps: answer.timing && wake(answer),
    links: answer.sessions,
  }),
  checkpoint: ({ answer, took }) => ({
    look: 'cold',
    title: `Checkpoint ${answer.checkpoint?.name ?? ''} in ${ms(tookOf({ answer, took }))}`,
    text: `A file of ${bytes(answer.checkpoint?.bytes)}; the session goes on. Forks can begin at it.`,
    steps: answer.timing && [
      ['Stood still for', ms(answer.timing.pause_ms)],
      ['Copied', `after ${ms(answer.timing.captured_ms)}`],
      ['Written and synced', `after ${ms(answer.timing.durable_ms)}`],
    ],
  }),
  pause: ({ took }) => ({
    look: 'warm',
    title: `Paused in ${ms(took)}`,
    text: 'Its processors stand still. Its memory stays where it is; parking it would give that back.',
  }),
  unpause: ({ took }) => ({ look: 'warm', title: `Runs on after ${ms(took)}`, text: '' }),
  cancel: ({ took }) => ({
    look: 'warm',
    title: `Park called off in ${ms(took)}`,
    text: 'The guest runs on as if nothing had been asked.',
  }),
};

export const storyOf = (act) => STORIES[act.op]?.(act) ?? null;
