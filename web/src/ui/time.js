// SPDX-License-Identifier: Apache-2.0
// Times that go on by themselves. Only their own text is drawn again each second.
import { useLayoutEffect, useRef } from 'preact/hooks';
import { now, tick } from '../lib/clock.js';
import { brief, fullTime, span } from '../lib/format.js';
import { html } from '../lib/html.js';

function useTicking(text) {
  const node = useRef();
  useLayoutEffect(() => {
    const show = () => {
      const next = text();
      if (node.current.textContent !== next) node.current.textContent = next;
    };
    show();
    return tick.subscribe(show);
  });
  return node;
}

// How long ago; `long` in two units.
export function Ago({ time, long }) {
  const node = useTicking(() => (long ? span : brief)((now() - Date.parse(time)) / 1000));
  return html`<time datetime=${time} title=${fullTime(time)} ref=${node}></time>`;
}

// How long still.
export function Until({ time, long }) {
  const node = useTicking(() => (long ? span : brief)((Date.parse(time) - now()) / 1000));
  return html`<time datetime=${time} title=${fullTime(time)} ref=${node}></time>`;
}
