// SPDX-License-Identifier: Apache-2.0
// The menu behind "More": one for the page, above everything, moved by arrow keys.
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { cell, useCell } from '../lib/cell.js';
import { html } from '../lib/html.js';
import { Icon } from './icons.js';

const open = cell(null); // {anchor, label, items: [{word, act, danger, off}]}

const STEPS = { ArrowDown: 1, ArrowUp: -1 };

function Open({ anchor, label, items }) {
  const node = useRef();
  const close = (focus) => {
    open.set(null);
    if (focus) anchor.focus();
  };

  useLayoutEffect(() => {
    const { current } = node;
    const at = anchor.getBoundingClientRect();
    current.showPopover();
    const { offsetWidth: width, offsetHeight: height } = current;
    const below = at.bottom + height + 8 < innerHeight;
    current.style.left = `${Math.max(8, Math.min(at.right - width, innerWidth - width - 8))}px`;
    current.style.top = `${below ? at.bottom + 4 : Math.max(8, at.top - height - 4)}px`;
    current.querySelector('button:not(:disabled)')?.focus();
    anchor.setAttribute('aria-expanded', 'true');
    return () => anchor.setAttribute('aria-expanded', 'false');
  }, [anchor]);

  useEffect(() => {
    const away = ({ target }) => !node.current?.contains(target) && close(false);
    const gone = () => close(false);
    addEventListener('pointerdown', away);
    addEventListener('scroll', gone, { passive: true });
    addEventListener('resize', gone);
    return () => {
      removeEventListener('pointerdown', away);
      removeEventListener('scroll', gone);
      removeEventListener('resize', gone);
    };
  }, [anchor]);

  const key = (event) => {
    const buttons = [...node.current.querySelectorAll('button:not(:disabled)')];
    const at = buttons.indexOf(document.activeElement);
    if (event.key === 'Escape' || event.key === 'Tab') close(true);
    else if (event.key in STEPS) buttons.at((at + STEPS[event.key]) % buttons.length).focus();
    else if (event.key === 'Home') buttons[0].focus();
    else if (event.key === 'End') buttons.at(-1).focus();
    else return;
    if (event.key !== 'Tab') event.preventDefault();
  };

  return html`<div class="menu" popover="manual" role="menu" aria-label=${label} ref=${node} onKeyDown=${key}>
    ${items.map(
      ({ word, act, danger, off }) => html`<button
        type="button"
        role="menuitem"
        tabindex="-1"
        class=${danger ? 'danger' : ''}
        disabled=${off}
        onClick=${() => {
          close(true);
          act();
        }}
      >
        ${word}
      </button>`,
    )}
  </div>`;
}

export function Menus() {
  const current = useCell(open);
  return current && html`<${Open} key=${current.label} ...${current} />`;
}

export function MoreButton({ label, items }) {
  const click = ({ currentTarget }) =>
    open.set(open.value?.anchor === currentTarget ? null : { anchor: currentTarget, label, items: items() });
  return html`<button
    type="button"
    class="button icon quiet"
    aria-haspopup="menu"
    aria-expanded="false"
    aria-label=${label}
    onClick=${click}
  >
    <${Icon} name="more" />
  </button>`;
}
