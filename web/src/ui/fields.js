// SPDX-License-Identifier: Apache-2.0
// Fields with a label, a unit and a word of help; and what their values mean.
import { useId } from 'preact/hooks';
import { html } from '../lib/html.js';

function Field({ label, help, children }) {
  const id = useId();
  const described = help ? `${id}-help` : undefined;
  return html`<div class="field">
    <label for=${id}>${label}</label>
    ${children({ id, 'aria-describedby': described })}
    ${help && html`<p class="help" id=${described}>${help}</p>`}
  </div>`;
}

// A value that nobody listens to is what a field begins with: drawn again, it keeps what was typed.
const begin = ({ value, ...rest }) =>
  rest.onInput || value === undefined ? { value, ...rest } : { defaultValue: value, ...rest };

export function Text({ label, help, ...rest }) {
  return html`<${Field} label=${label} help=${help}>
    ${(by) => html`<input class="input" autocomplete="off" spellcheck=${false} ...${begin(rest)} ...${by} />`}
  </${Field}>`;
}

export function Area({ label, help, ...rest }) {
  return html`<${Field} label=${label} help=${help}>
    ${(by) => html`<textarea class="input mono" rows="3" spellcheck=${false} ...${rest} ...${by}></textarea>`}
  </${Field}>`;
}

function Options({ options, chosen }) {
  return options.map(([value, word]) => html`<option value=${value} selected=${value === chosen}>${word}</option>`);
}

export function Choice({ label, help, options, value, ...rest }) {
  return html`<${Field} label=${label} help=${help}>
    ${(by) => html`<select class="input" ...${rest} ...${by}><${Options} options=${options} chosen=${value} /></select>`}
  </${Field}>`;
}

const TIMES = [
  ['60', 'minutes'],
  ['3600', 'hours'],
  ['86400', 'days'],
];
const SIZES = [
  ['1048576', 'MiB'],
  ['1073741824', 'GiB'],
];

function Measured({ label, help, name, value, units, fixed, ...rest }) {
  const never = value === 0 && fixed.some(([word]) => word === 'never');
  const known = typeof value === 'number' && !never;
  const [unit] = [...units].reverse().find(([size]) => value > 0 && value % Number(size) === 0) ?? units[0];
  const chosen = known ? unit : never ? 'never' : fixed[0][0];
  const number = known ? value / Number(unit) : 0;
  // A number has a unit: the first, unless another was chosen.
  const typed = ({ target }) => {
    const choice = target.form.elements[`${name}-unit`];
    if (target.value && fixed.some(([word]) => word === choice.value)) [[choice.value]] = units;
  };
  // And what is as usual, or never, has no number.
  const turned = ({ target }) => {
    if (fixed.some(([word]) => word === target.value)) target.form.elements[name].value = '';
  };
  return html`<${Field} label=${label} help=${help}>
    ${(by) => html`<span class="with-unit">
      <input
        class="input"
        type="number"
        min="0"
        step="any"
        name=${name}
        defaultValue=${known ? Math.round(number * 100) / 100 || Number(number.toPrecision(2)) : ''}
        data-value=${known ? value : undefined}
        data-unit=${unit}
        onInput=${typed}
        ...${rest}
        ...${by}
      />
      <select class="input" name="${name}-unit" aria-label="Unit of ${label}" onChange=${turned}>
        <${Options} options=${[...fixed, ...units]} chosen=${chosen} />
      </select>
    </span>`}
  </${Field}>`;
}

// `value`: seconds, 0 for never, undefined for what holds without a word.
export function Duration({ standard = true, ...props }) {
  const fixed = [...(standard ? [['', 'as usual']] : []), ['never', 'never']];
  return html`<${Measured} units=${TIMES} fixed=${fixed} ...${props} />`;
}

export function Size(props) {
  return html`<${Measured} units=${SIZES} fixed=${[['', 'no limit']]} ...${props} />`;
}

// --- reading a form ---

// Seconds or bytes; 0 for never; undefined for what wasn't said. A number alone means the first unit.
function measureIn(form, name, standardUnit) {
  const unit = form.elements[`${name}-unit`].value;
  const { value: number, defaultValue: before, dataset } = form.elements[name];
  // What wasn't touched is what it was, where it is shown rounded too.
  if (dataset.value !== undefined && number === before && unit === dataset.unit) return Number(dataset.value);
  if (unit === 'never') return 0;
  if (number === '') return undefined;
  return Math.round(Number(number) * Number(unit || standardUnit));
}

export const durationIn = (form, name) => measureIn(form, name, 60);
export const sizeIn = (form, name) => measureIn(form, name, 1048576);

export function numberIn(form, name) {
  const { value } = form.elements[name];
  return value === '' ? undefined : Number(value);
}

export const textIn = (form, name) => form.elements[name].value.trim() || undefined;

// "team=a, purpose=try" or a line for each; throws with what isn't right.
export function pairsIn(form, name, separator = /[\n,]/) {
  const pairs = {};
  for (const part of form.elements[name].value.split(separator)) {
    const text = part.trim();
    if (!text) continue;
    const equals = text.indexOf('=');
    if (equals < 1) throw new Error(`“${text}” isn’t NAME=VALUE.`);
    pairs[text.slice(0, equals).trim()] = text.slice(equals + 1).trim();
  }
  return pairs;
}

export const pairsText = (pairs, separator = ', ') =>
  Object.entries(pairs)
    .map(([key, value]) => `${key}=${value}`)
    .join(separator);
