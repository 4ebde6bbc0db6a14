// SPDX-License-Identifier: Apache-2.0
// A value, and those who want to know when it changes.
import { useLayoutEffect, useReducer } from 'preact/hooks';

export function cell(value) {
  const readers = new Set();
  return {
    get value() {
      return value;
    },
    set(next) {
      if (Object.is(next, value)) return;
      value = next;
      for (const reader of [...readers]) reader(value);
    },
    subscribe(reader) {
      readers.add(reader);
      return () => readers.delete(reader);
    },
  };
}

// The cell's value, in a component that is drawn again when it changes.
export function useCell(source) {
  const [, redraw] = useReducer((n) => n + 1, 0);
  const drawn = source.value;
  useLayoutEffect(() => {
    if (source.value !== drawn) redraw();
    return source.subscribe(redraw);
  }, [source]);
  return drawn;
}
