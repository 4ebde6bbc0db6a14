// SPDX-License-Identifier: Apache-2.0
// What the last action did, step by step, where it was asked for.
import { forgetAct, OPS } from '../lib/actions.js';
import { html } from '../lib/html.js';
import { Link } from '../lib/router.js';
import { storyOf } from '../lib/story.js';
import { Icon } from './icons.js';
import { Said, Working } from './said.js';

export function Story({ act }) {
  if (!act) return null;
  const close = () => forgetAct(act.id);
  if (act.state === 'running')
    return html`<div class="said"><${Working}>${OPS[act.op].doing} …</${Working}></div>`;
  if (act.state === 'failed')
    return html`<${Said} what="${OPS[act.op].doing} failed" problem=${act.problem} onClose=${close} />`;
  const story = storyOf(act);
  if (!story) return null;
  return html`<section class="said ${story.look}" aria-label="What happened">
    <p class="said-title">
      <span>${story.title}</span>
      <button type="button" class="link" onClick=${close} aria-label="Dismiss"><${Icon} name="close" /></button>
    </p>
    ${story.text && html`<p>${story.text}</p>`}
    ${story.steps &&
    html`<ol class="steps">
      ${story.steps.filter(Boolean).map(([word, text]) => html`<li>${word} <b>${text}</b></li>`)}
    </ol>`}
    ${story.links &&
    html`<ul class="steps">
      ${story.links.map(({ id, name }) => html`<li><${Link} to="s/${id}">${name}</${Link}></li>`)}
    </ul>`}
  </section>`;
}
