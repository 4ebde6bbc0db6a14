// SPDX-License-Identifier: Apache-2.0
// Where a session comes from and what came from it: parks, checkpoints, forks, as a tree.
import { bytes, ms, when } from '../lib/format.js';
import { html } from '../lib/html.js';
import { Link } from '../lib/router.js';
import { State, StateShape } from './state.js';

const KINDS = { park: 'Park', checkpoint: 'Checkpoint', gone: 'Destroyed session' };

function treeOf(nodes) {
  const byParent = new Map();
  for (const node of nodes) {
    if (!byParent.has(node.parent)) byParent.set(node.parent, []);
    byParent.get(node.parent).push(node);
  }
  return byParent;
}

function Node({ node, here, states }) {
  const { kind, session, name, created } = node;
  const facts = [
    node.bytes !== null && bytes(node.bytes),
    node.took_ms !== null && `${kind === 'session' ? 'there in' : 'in'} ${ms(node.took_ms)}`,
    created && when(created),
  ].filter(Boolean);
  const current = kind === 'session' && session === here;
  const state = states(session) ?? node.state;
  return html`<span class="node ${kind} ${current ? 'here' : ''}">
    ${kind === 'session' &&
    html`${current ? html`<b>${name}</b>` : html`<${Link} to="s/${session}">${name}</${Link}>`} <${State} state=${state} />`}
    ${kind === 'gone' && html`<span class="dim">${KINDS.gone} <code>${session}</code></span>`}
    ${(kind === 'park' || kind === 'checkpoint') &&
    html`<span class="state cold"><${StateShape} state="parked" size=${12} /></span> ${KINDS[kind]}
      ${kind === 'checkpoint' && html`${' '}<b>${name}</b>`}`}
    <span class="dim">${facts.join(' · ')}</span>
  </span>`;
}

function Branch({ parent, children, ...rest }) {
  const nodes = children.get(parent);
  if (!nodes) return null;
  return html`<ul>
    ${nodes.map(
      (node) => html`<li key=${node.id}>
        <${Node} node=${node} ...${rest} />
        <${Branch} parent=${node.id} children=${children} ...${rest} />
      </li>`,
    )}
  </ul>`;
}

// `states(id)`: the state as it is now, where that is known.
export function Family({ lineage, here, states }) {
  const children = treeOf(lineage.nodes);
  return html`<div class="family">
    <${Branch} parent=${null} children=${children} here=${here} states=${states} />
    ${lineage.truncated && html`<p class="dim">The family is larger; 500 of it are shown.</p>`}
  </div>`;
}
