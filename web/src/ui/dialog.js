// SPDX-License-Identifier: Apache-2.0
// One dialog at a time, over the page. The browser keeps the focus in it, and gives it back.
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { cell, useCell } from '../lib/cell.js';
import { html } from '../lib/html.js';
import { Said } from './said.js';

const shown = cell(null); // {title, ...}, see Form

export const openDialog = (Content, props) => shown.set({ Content, props, key: Date.now() });
export const closeDialog = () => shown.set(null);

function Shell({ Content, props }) {
  const node = useRef();
  // Before anything is painted: a key that is pressed meanwhile has to find the focus in its place.
  useLayoutEffect(() => {
    const { current } = node;
    const before = document.activeElement;
    current.showModal();
    current.querySelector('[data-first]')?.focus();
    return () => {
      current.close();
      if (before?.isConnected) before.focus();
      else document.querySelector('main')?.focus();
    };
  }, []);
  const close = (event) => {
    event.preventDefault();
    closeDialog();
  };
  return html`<dialog ref=${node} onCancel=${close} aria-labelledby="dialog-title">
    <${Content} ...${props} />
  </dialog>`;
}

export function Dialogs() {
  const current = useCell(shown);
  return current && html`<${Shell} key=${current.key} ...${current} />`;
}

// What `act` of a form returns whose dialog has something to show yet.
export const STAY = Symbol('stay');

// The form of a dialog: `act` does what it is for; when that fails, the dialog stays and says why.
export function Form({ title, lead, action, working, danger, act, children, disabled }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    if (busy) return;
    const mine = shown.value;
    setBusy(true);
    setProblem(null);
    try {
      if ((await act(event.currentTarget)) === STAY) return;
      // Who didn't wait for it may be at another by now.
      if (shown.value === mine) closeDialog();
    } catch (err) {
      setProblem(err);
      setBusy(false);
    }
  };
  return html`<form onSubmit=${submit}>
    <h2 id="dialog-title">${title}</h2>
    ${lead && html`<p class="lead">${lead}</p>`} ${children}
    ${problem && html`<${Said} problem=${problem} />`}
    <footer>
      <button type="button" class="button" onClick=${closeDialog} data-first=${danger ? '' : undefined}>
        ${danger ? 'Keep it' : 'Cancel'}
      </button>
      <button type="submit" class="button ${danger ? 'danger' : 'main'}" disabled=${busy || disabled}>
        ${busy ? working : action}
      </button>
    </footer>
  </form>`;
}
