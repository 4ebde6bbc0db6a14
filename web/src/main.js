// SPDX-License-Identifier: Apache-2.0
// Torpor's dashboard: sessions that sleep and wake, from a browser.
import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import './css/base.css';
import './css/parts.css';
import './css/pages.css';
import { start, signIn } from './lib/data.js';
import { html } from './lib/html.js';
import { takeCode } from './lib/router.js';
import { App } from './app.js';
import { linkFailed } from './pages/signin.js';

async function begin() {
  const code = takeCode();
  if (!code) return start();
  try {
    await signIn({ code });
  } catch (problem) {
    await start();
    linkFailed.set(problem);
  }
}

render(html`<${App} />`, document.getElementById('app'));
begin();
