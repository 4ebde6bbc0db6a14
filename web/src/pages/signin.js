// SPDX-License-Identifier: Apache-2.0
// Signing in, and signing in again over the page that is open.
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { cell, useCell } from '../lib/cell.js';
import { self, signIn, signOut } from '../lib/data.js';
import { html } from '../lib/html.js';
import { useTitle } from '../lib/hooks.js';
import { Mark } from '../ui/icons.js';
import { Said } from '../ui/said.js';

export const linkFailed = cell(null); // the problem with the sign-in link that one came by

const WORDS = {
  'token-wrong': 'No such token is known here. It may have been removed, or a character is missing.',
  'token-expired': 'This token was right, but its time is over. Ask for a new one.',
  'code-wrong': 'This link was used already, or is older than a minute. Run torpor dashboard again for a new one.',
};

function Wrong({ problem, id }) {
  const words = problem && WORDS[problem.reason];
  if (!problem) return null;
  if (words) return html`<p class="wrong" id=${id} role="alert">${words}</p>`;
  return html`<${Said} problem=${problem} />`;
}

function TokenForm({ action }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const input = useRef();
  useLayoutEffect(() => input.current.focus(), []);
  const submit = async (event) => {
    event.preventDefault();
    const token = input.current.value.trim();
    if (busy || !token) return;
    setBusy(true);
    setProblem(null);
    try {
      await signIn({ token });
      linkFailed.set(null);
    } catch (err) {
      setBusy(false);
      setProblem(err);
      input.current?.select();
    }
  };
  return html`<form onSubmit=${submit}>
    <div class="field">
      <label for="token">Token</label>
      <input
        class="input mono"
        id="token"
        type="password"
        autocomplete="current-password"
        autocapitalize="none"
        spellcheck=${false}
        placeholder="tpr_…"
        required
        ref=${input}
        aria-invalid=${problem ? 'true' : undefined}
        aria-describedby="token-help${problem ? ' token-wrong' : ''}"
      />
      <${Wrong} problem=${problem} id="token-wrong" />
      <p class="help" id="token-help">It begins with <code>tpr_</code>. Whoever runs this host has it, or makes one.</p>
    </div>
    <button type="submit" class="button main" disabled=${busy}>${busy ? 'Signing in …' : action}</button>
  </form>`;
}

export function SignIn() {
  const failed = useCell(linkFailed);
  useTitle('Sign in');
  return html`<main class="alone signin" id="main" tabindex="-1">
    <div class="signin-head"><${Mark} size=${44} />
      <h1>Torpor</h1>
      <p class="lead">Sessions that sleep when nobody looks, and wake where they were.</p>
    </div>
    ${failed && html`<div class="said bad"><${Wrong} problem=${failed} /></div>`}
    <${TokenForm} action="Sign in" />
    <div class="signin-ways">
      <h2>Without a token at hand</h2>
      <p>On the host itself, <code>torpor dashboard</code> prints a link that signs you in.</p>
      <p>For somebody else, <code>torpor token add TENANT</code> makes a token.</p>
    </div>
  </main>`;
}

// The time of a sign-in is over: what is shown and typed stays behind this.
export function SignInAgain() {
  const node = useRef();
  const who = useCell(self);
  useLayoutEffect(() => {
    const { current } = node;
    current.showModal();
    current.querySelector('input').focus();
    return () => current.close();
  }, []);
  return html`<dialog ref=${node} class="again" aria-labelledby="again-title" onCancel=${(e) => e.preventDefault()}>
    <h2 id="again-title">Sign in again</h2>
    <p class="lead">
      Your sign-in ${who?.admin ? 'as the admin' : html`as <b>${who?.tenant}</b>`} is over. What is on the page stays,
      and goes on from here.
    </p>
    <${TokenForm} action="Go on" />
    <button type="button" class="link" onClick=${() => signOut().catch(() => {})}>Sign out instead</button>
  </dialog>`;
}
