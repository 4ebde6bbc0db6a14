// SPDX-License-Identifier: Apache-2.0
// The frame around all pages.
import { useEffect, useRef } from 'preact/hooks';
import { useCell } from './lib/cell.js';
import { auth, loaded, self, start } from './lib/data.js';
import { html } from './lib/html.js';
import { Link, route } from './lib/router.js';
import { Account } from './ui/account.js';
import { Dialogs } from './ui/dialog.js';
import { Mark } from './ui/icons.js';
import { LiveState } from './ui/live-state.js';
import { Menus } from './ui/menu.js';
import { Said, Speaker, Working } from './ui/said.js';
import { AdminPage } from './pages/admin.js';
import { PoolPage } from './pages/pool.js';
import { SessionPage } from './pages/session.js';
import { SessionsPage } from './pages/sessions.js';
import { SignIn, SignInAgain } from './pages/signin.js';

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
  if (page === 's') return html`<${SessionPage} key=${rest[0]} id=${rest[0]} />`;
  if (page === 'pool') return html`<${PoolPage} />`;
  if (page === 'admin') return html`<${AdminPage} name=${rest[0]} />`;
  return html`<${SessionsPage} />`;
}

function Frame() {
  const { page, rest, query } = useCell(route);
  const who = useCell(self);
  const state = useCell(loaded);
  const main = useRef();
  const place = `${page}/${rest.join('/')}`;
  const before = useRef(place);

  // Who goes to another page begins at its top, screen readers too.
  useEffect(() => {
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
    </main>
    <${Dialogs} />
    <${Menus} />`;
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
