// SPDX-License-Identifier: Apache-2.0
// Limits and timers, as fields: of a session, and what a tenant’s sessions have unless they say.
import { html } from '../lib/html.js';
import { Duration, durationIn, numberIn, Size, sizeIn, Text } from './fields.js';

export function TimerFields({ timers = {}, standard = true }) {
  return html`<div class="pair">
    <${Duration}
      label="Park after idle for"
      name="idle"
      value=${timers.idle_s}
      standard=${standard}
      help="No command and no change for so long."
    />
    <${Duration}
      label="Destroy after"
      name="ttl"
      value=${timers.ttl_s}
      standard=${standard}
      help="Of running; parking stops this clock."
    />
    <${Duration}
      label="Keep parked for"
      name="retention"
      value=${timers.retention_s}
      standard=${standard}
      help="Then the image goes."
    />
  </div>`;
}

export const timersIn = (form) => ({
  idle_s: durationIn(form, 'idle'),
  ttl_s: durationIn(form, 'ttl'),
  retention_s: durationIn(form, 'retention'),
});

export function LimitFields({ limits = {} }) {
  return html`<div class="pair">
    <${Text}
      label="Processors"
      name="cpus"
      type="number"
      min="0.01"
      max="1024"
      step="0.01"
      value=${limits.cpus ?? ''}
      placeholder="no limit"
    />
    <${Size} label="Memory" name="memory" value=${limits.memory_bytes} />
    <${Text} label="Processes" name="pids" type="number" min="1" value=${limits.pids ?? ''} placeholder="no limit" />
    <${Text}
      label="Open files"
      name="nofile"
      type="number"
      min="64"
      value=${limits.nofile ?? ''}
      placeholder="no limit"
    />
    <${Size} label="Disk, each second" name="io" value=${limits.io_bytes_per_s} />
    <${Size} label="Network, each second" name="net" value=${limits.net_bytes_per_s} />
  </div>`;
}

export function limitsIn(form) {
  const limits = {
    cpus: numberIn(form, 'cpus'),
    memory_bytes: sizeIn(form, 'memory'),
    pids: numberIn(form, 'pids'),
    nofile: numberIn(form, 'nofile'),
    io_bytes_per_s: sizeIn(form, 'io'),
    net_bytes_per_s: sizeIn(form, 'net'),
  };
  return JSON.parse(JSON.stringify(limits));
}
