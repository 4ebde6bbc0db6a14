// SPDX-License-Identifier: Apache-2.0
// Of a long list, what can be seen and a little more: all rows are equally high, so that the rest is
// two numbers.
import { useLayoutEffect, useState } from 'preact/hooks';

const STEP = 4; // rows that come and go at a time
const MORE = 4; // rows beyond each edge, so that the next to be focused is there

// [first, end) of `count` rows of `height` px in `node`.
export function useWindow(node, count, height) {
  const [range, setRange] = useState([0, 40]);
  useLayoutEffect(() => {
    let frame = 0;
    const look = () => {
      frame = 0;
      if (!node.current) return;
      const top = -node.current.getBoundingClientRect().top;
      const first = Math.max(0, Math.floor((top / height - MORE) / STEP) * STEP);
      const end = Math.ceil(((top + innerHeight) / height + MORE) / STEP) * STEP;
      setRange((old) => (old[0] === first && old[1] === end ? old : [first, end]));
    };
    const later = () => {
      frame ||= requestAnimationFrame(look);
    };
    look();
    addEventListener('scroll', later, { passive: true });
    addEventListener('resize', later);
    return () => {
      cancelAnimationFrame(frame);
      removeEventListener('scroll', later);
      removeEventListener('resize', later);
    };
  }, [count, height]);
  const end = Math.min(count, Math.max(range[1], 0));
  return [Math.min(range[0], Math.max(0, end - 1)), end];
}

// The width of an element, px; 0 before it was laid out.
export function useWidth(node) {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)));
    observer.observe(node.current);
    return () => observer.disconnect();
  }, []);
  return width;
}
