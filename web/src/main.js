// SPDX-License-Identifier: Apache-2.0
// Torpor's dashboard: sessions that sleep and wake, from a browser.
import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import './css/base.css';
import './css/parts.css';
import './css/pages.css';
import { auth, start, signIn } from './lib/data.js';
import { html } from './lib/html.js';
import { takeCode } from './lib/router.js';
import { App } from './app.js';
import { linkFailed } from './pages/signin.js';

async function enterBy(code) {
  try {
    await signIn({ code });
    linkFailed.set(null);
  } catch (problem) {
    await start();
    if (auth.value !== 'in') linkFailed.set(problem);
  }
}

render(html`<${App} />`, document.getElementById('app'));
// A link that is opened where a page is already only changes what is behind the #.
addEventListener('hashchange', () => {
  const code = takeCode();
  if (code) enterBy(code);
});
const code = takeCode();
if (code) enterBy(code);
else start();
