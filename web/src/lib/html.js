// SPDX-License-Identifier: Apache-2.0
// Templates without a compiler: html`<p>...</p>` makes Preact's nodes.
import htm from 'htm';
import { h } from 'preact';

export const html = htm.bind(h);
