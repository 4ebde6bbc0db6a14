// SPDX-License-Identifier: Apache-2.0
// Where one is, is in the address: the page behind "#/", what is searched and sorted behind "?".
// It can be kept, sent to others, and gone back to.
import { cell } from './cell.js';
import { html } from './html.js';

// An address may have been typed, or cut off: what isn't right is as it is written.
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function read() {
  const [page = '', ...rest] = location.hash.replace(/^#\/?/, '').split('/').map(decoded);
  return { page, rest, query: Object.fromEntries(new URLSearchParams(location.search)) };
}

// {page: '' | 's' | 'pool' | 'admin', rest: [...], query: {...}}
export const route = cell(read());

function address(path, query) {
  const kept = Object.entries(query).filter(([, value]) => value !== '' && value !== null && value !== undefined);
  const search = new URLSearchParams(kept).toString();
  return `${location.pathname}${search ? `?${search}` : ''}#/${path}`;
}

const here = () => location.hash.replace(/^#\/?/, '');

addEventListener('popstate', () => route.set(read()));
addEventListener('hashchange', () => route.set(read()));

// To a page, with the query as it is.
export function go(path) {
  history.pushState(null, '', address(path, route.value.query));
  route.set(read());
  scrollTo(0, 0);
}

// What is typed into a search replaces itself; `keep` makes it a step that one can go back from.
export function setQuery(changes, keep) {
  const query = { ...route.value.query, ...changes };
  history[keep ? 'pushState' : 'replaceState'](null, '', address(here(), query));
  route.set(read());
}

// The code of a sign-in link, taken out of the address before anything else is done.
export function takeCode() {
  const code = new URLSearchParams(location.hash.slice(1)).get('code');
  if (!code) return null;
  history.replaceState(null, '', location.pathname + location.search);
  route.set(read());
  return code;
}

export function Link({ to, children, ...rest }) {
  const click = (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    go(to);
  };
  return html`<a href=${address(to, route.value.query)} onClick=${click} ...${rest}>${children}</a>`;
}
