// SPDX-License-Identifier: Apache-2.0
// The frame around all pages.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { useCell } from './lib/cell.js';
import { auth, loaded, self, start } from './lib/data.js';
import { html } from './lib/html.js';
import { offline } from './lib/problem.js';
import { Link, route } from './lib/router.js';
import { Account } from './ui/account.js';
import { Dialogs } from './ui/dialog.js';
import { Mark } from './ui/icons.js';
import { LiveState } from './ui/live-state.js';
import { Menus } from './ui/menu.js';
import { Said, Speaker, Working } from './ui/said.js';
import { SessionsPage } from './pages/sessions.js';
import { SignIn, SignInAgain } from './pages/signin.js';

// Pages that the first look doesn't need come when they are asked for, or when there is nothing else to do.
let more = null;

async function fetchMore() {
  more ??= await import('./pages/more.js');
}

function Later({ of, ...props }) {
  const [, redraw] = useState(0);
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    if (!more) fetchMore().then(() => redraw(1), (err) => setProblem(offline(err)));
  }, []);
  if (problem) return html`<${Said} problem=${problem} again=${() => location.reload()} />`;
  return more ? html`<${more[of]} ...${props} />` : html`<${Working}>Opening the page</${Working}>`;
}

function Nav({ page, admin }) {
  const pages = [
    ['', 'Sessions'],
    ['pool', 'Pool and host'],
    ['admin', admin ? 'Admin' : 'Account'],
  ];
  const current = page === 's' ? '' : page;
  return html`<nav aria-label="Pages">
    ${pages.map(
      ([to, word]) =>
        html`<${Link} to=${to} aria-current=${to === current ? 'page' : undefined}>${word}</${Link}>`,
    )}
  </nav>`;
}

function Page({ page, rest }) {
  if (page === 's') return html`<${Later} of="SessionPage" key=${rest[0]} id=${rest[0]} />`;
  if (page === 'pool') return html`<${Later} of="PoolPage" key="pool" />`;
  if (page === 'admin') return html`<${Later} of="AdminPage" key="admin" name=${rest[0]} />`;
  return html`<${SessionsPage} />`;
}

function Frame() {
  const { page, rest, query } = useCell(route);
  const who = useCell(self);
  const state = useCell(loaded);
  const main = useRef();
  const place = `${page}/${rest.join('/')}`;
  const before = useRef(place);

  const isLoading = state.state === 'loading';
  useEffect(() => {
    if (isLoading) return undefined;
    const timer = setTimeout(() => fetchMore().catch(() => {}), 3000);
    return () => clearTimeout(timer);
  }, [isLoading]);

  // Who goes to another page begins at its top, screen readers too.
  useLayoutEffect(() => {
    if (before.current !== place) main.current.focus({ preventScroll: true });
    before.current = place;
  }, [place]);

  return html`<button type="button" class="skip" onClick=${() => main.current.focus()}>Skip to the content</button>
    <header class="top">
      <${Link} to="" class="brand"><${Mark} /><span>Torpor</span></${Link}>
      <${Nav} page=${page} admin=${who.admin} />
      <div class="top-side">
        <${LiveState} />
        <${Account} who=${who} acting=${query.tenant} />
      </div>
    </header>
    <main id="main" tabindex="-1" ref=${main}>
      ${state.state === 'failed'
        ? html`<${Said} what="Sessions can’t be shown" problem=${state.problem} again=${start} />`
        : html`<${Page} page=${page} rest=${rest} />`}
      <${Menus} />
    </main>
    <${Dialogs} />`;
}

export function App() {
  const signedIn = useCell(auth);
  const state = useCell(loaded);
  let content;
  if (signedIn === 'in' || signedIn === 'over') content = html`<${Frame} />`;
  else if (signedIn === 'out') content = html`<${SignIn} />`;
  else if (state.state === 'failed')
    content = html`<main class="alone"><${Said} problem=${state.problem} again=${() => location.reload()} /></main>`;
  else content = html`<main class="alone"><${Working}>Asking who you are</${Working}></main>`;
  return html`${content} ${signedIn === 'over' && html`<${SignInAgain} />`} <${Speaker} />`;
}
