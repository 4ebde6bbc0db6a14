// SPDX-License-Identifier: Apache-2.0
// Templates: what there is, building one, removing one.
import { useRef, useState } from 'preact/hooks';
import { callEvents, remove } from '../lib/api.js';
import { useCell } from '../lib/cell.js';
import { templates } from '../lib/data.js';
import { bytes, fullTime, ms } from '../lib/format.js';
import { html } from '../lib/html.js';
import { Problem } from '../lib/problem.js';
import { Form, openDialog } from '../ui/dialog.js';
import { Choice, numberIn, Size, sizeIn, Text, textIn } from '../ui/fields.js';
import { Working } from '../ui/said.js';

function RemoveForm({ name }) {
  return html`<${Form}
    title="Remove template ${name}?"
    lead="No session can be started from it any more. It stays while sessions need it, parked ones too."
    action="Remove ${name}"
    working="Removing …"
    danger
    act=${() => remove(`/v1/templates/${encodeURIComponent(name)}`)}
  />`;
}

const LINES = 200;

function BuildForm() {
  const [progress, setProgress] = useState([]);
  const lines = useRef([]);
  const build = async (form) => {
    const body = {
      name: textIn(form, 'name'),
      kernel: textIn(form, 'kernel'),
      initrd: textIn(form, 'initrd'),
      append: textIn(form, 'append'),
      memory_bytes: sizeIn(form, 'memory'),
      vcpus: numberIn(form, 'vcpus'),
      machine: form.elements.machine.value || undefined,
      replace: form.elements.replace.checked || undefined,
    };
    lines.current = [];
    let outcome = null;
    await callEvents('POST', '/v1/templates', { body }, (type, data) => {
      if (type === 'progress') {
        lines.current = [...lines.current, data].slice(-LINES);
        setProgress(lines.current);
      } else outcome = { type, data };
    });
    if (outcome?.type === 'error') throw new Problem(outcome.data);
    if (outcome?.type !== 'done') throw new Problem({ type: 'offline', detail: 'The answer broke off.' });
  };
  return html`<${Form}
    title="Build a template"
    lead="Its guest is booted once, until it is ready, and kept as it is then. Files are the host’s."
    action="Build it"
    working="Building …"
    act=${build}
  >
    <${Text} label="Name" name="name" required maxlength="64" pattern="[A-Za-z0-9][A-Za-z0-9._\\-]*" data-first />
    <${Text} label="Kernel" name="kernel" required pattern="/.*" placeholder="/srv/guest/vmlinuz" help="A path on the host." />
    <${Text} label="Initial RAM disk" name="initrd" pattern="/.*" placeholder="/srv/guest/initrd.img" />
    <div class="pair">
      <${Size} label="Memory" name="memory" value=${268435456} />
      <${Text} label="Processors" name="vcpus" type="number" min="1" max="255" value="1" />
    </div>
    <details>
      <summary>More</summary>
      <${Text} label="Added to the kernel’s command line" name="append" />
      <${Choice}
        label="Machine"
        name="machine"
        value=""
        options=${[
          ['', 'as usual'],
          ['pc', 'pc'],
          ['q35', 'q35'],
          ['microvm', 'microvm'],
        ]}
      />
      <label class="check"><input type="checkbox" name="replace" /> Replace the one of this name</label>
    </details>
    ${progress.length > 0 &&
    html`<div role="status">
      <p class="working">${progress.at(-1).stage}</p>
      <pre class="output log" tabindex="0">${progress.map(({ line }) => line && `${line}\n`)}</pre>
    </div>`}
  </${Form}>`;
}

function Condition({ template }) {
  const { state, reason, progress } = template;
  if (state === 'building')
    return html`<${Working}>Being built${progress ? `: ${progress.stage}` : ''}</${Working}>
      ${progress?.line && html`<code class="dim">${progress.line}</code>`}`;
  if (state === 'degraded') return html`<b class="failed">Degraded</b><br />${reason}`;
  return { ready: 'Ready', stored: 'Not in use' }[state] ?? state;
}

export function TemplatesSheet() {
  useCell(templates.version);
  const all = [...templates.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  return html`<section class="sheet templates-sheet" aria-labelledby="templates-title">
    <header>
      <h2 id="templates-title">Templates</h2>
      <button type="button" class="button" onClick=${() => openDialog(BuildForm, {})}>Build a template</button>
    </header>
    ${all.length === 0
      ? html`<div class="empty">
          <h3>No templates yet</h3>
          <p>
            A session is a copy of a template: a guest that was booted once. <code>scripts/build-guest</code> makes a small
            one to try with.
          </p>
        </div>`
      : html`<div class="scroll-x" tabindex="0" role="region" aria-label="Table of templates">
          <table class="list">
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col">Condition</th>
                <th scope="col" class="number">Memory</th>
                <th scope="col" class="number">Processors</th>
                <th scope="col" class="number">On disk</th>
                <th scope="col" class="number">Booted in</th>
                <th scope="col">Machine</th>
                <th scope="col">Built</th>
                <th scope="col"><span class="unseen">Actions</span></th>
              </tr>
            </thead>
            <tbody>
              ${all.map(
                (one) => html`<tr key=${one.name}>
                  <th scope="row"><b>${one.name}</b></th>
                  <td><${Condition} template=${one} /></td>
                  <td class="number">${bytes(one.memory_bytes)}</td>
                  <td class="number">${one.vcpus}</td>
                  <td class="number">${bytes(one.image_bytes)}</td>
                  <td class="number">${ms(one.boot_ms)}</td>
                  <td>${one.machine} <span class="dim">${one.accel}</span></td>
                  <td>${one.created && fullTime(one.created)}</td>
                  <td class="number">
                    <button
                      type="button"
                      class="link"
                      disabled=${!one.id}
                      aria-label="Remove template ${one.name}"
                      onClick=${() => openDialog(RemoveForm, { name: one.name })}
                    >
                      Remove …
                    </button>
                  </td>
                </tr>`,
              )}
            </tbody>
          </table>
        </div>`}
  </section>`;
}
