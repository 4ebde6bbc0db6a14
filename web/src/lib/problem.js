// SPDX-License-Identifier: Apache-2.0
// What went wrong, in plain words. What the server said of it is shown below them.

const BY_REASON = {
  rate: 'Too many changes in the last minute.',
  'tenant-sessions': 'You have as many running sessions as you may have.',
  'tenant-memory': 'Your running sessions use all the memory that you may use.',
  'tenant-parked-bytes': 'Your parked sessions fill the space that you may fill.',
  'session-commands': 'This session runs as many commands as it can at a time.',
  'host-sessions': 'The host runs as many sessions as it may.',
  'host-memory': 'The host has no memory left for another guest.',
  'queue-full': 'Too many starts are waiting already.',
  'template-degraded': 'Guests of this template fail to start at the moment.',
  draining: 'The service is about to stop, and takes nothing new.',
  connections: 'The service has as many connections as it takes.',
  'under-way': 'The same request is still being worked on.',
};

const BY_CODE = {
  invalid: 'Something in the request isn’t right.',
  'not-found': 'It isn’t there. It may have been destroyed.',
  exists: 'That name is taken.',
  busy: 'That can’t be done in its present state.',
  timeout: 'It took too long and was given up.',
  cancelled: 'It was called off.',
  'no-memory': 'There isn’t enough memory on the host.',
  'no-space': 'There isn’t enough space on the disk.',
  io: 'Reading or writing on the host failed.',
  corrupt: 'The stored data is damaged.',
  mismatch: 'This doesn’t fit what is there.',
  unsupported: 'This host can’t do that.',
  denied: 'You may not do that.',
  qemu: 'The guest’s process failed.',
  guest: 'The guest didn’t do what it was asked.',
  limit: 'A limit was reached.',
  internal: 'Something failed inside the service.',
  offline: 'The service can’t be reached.',
  'signed-out': 'You are not signed in any more.',
};

export class Problem extends Error {
  constructor({ type = '', status = 0, title, detail, hint, reason, retry_after_s: retryAfter }) {
    super(detail || title || 'failed');
    this.code = type.split(':').pop() || (status === 401 ? 'signed-out' : 'internal');
    this.status = status;
    this.detail = detail;
    this.hint = hint;
    this.reason = reason;
    this.retryAfter = retryAfter;
  }

  get words() {
    return BY_REASON[this.reason] ?? BY_CODE[this.code] ?? 'That failed.';
  }
}

export const offline = (err) =>
  new Problem({
    type: 'offline',
    detail: err?.message,
    hint: 'The page goes on by itself once the service is there again.',
  });
