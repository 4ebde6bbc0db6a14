// SPDX-License-Identifier: Apache-2.0
// Objects by id, changed many times a second and drawn once a frame.
//
// Objects are never changed in place: who holds one and finds the same again need not draw.
import { useLayoutEffect, useReducer } from 'preact/hooks';
import { cell } from './cell.js';

// `key`: the field that tells them apart.
export function collection(key = 'id') {
  const byId = new Map();
  const watchers = new Map(); // id -> Set of functions
  const pending = new Map(); // id -> object, or null for one that is gone
  const version = cell(0);
  let scheduled = false;

  function flush() {
    scheduled = false;
    const changed = [...pending];
    pending.clear();
    for (const [id, object] of changed) {
      if (object) byId.set(id, object);
      else byId.delete(id);
    }
    for (const [id] of changed) for (const watcher of watchers.get(id) ?? []) watcher();
    version.set(version.value + 1);
  }

  // No frames come to a page that nobody sees.
  function schedule() {
    if (scheduled) return;
    scheduled = true;
    if (document.hidden) setTimeout(flush, 200);
    else requestAnimationFrame(flush);
  }

  return {
    version,
    // With what isn't drawn yet.
    latest: (id) => (pending.has(id) ? pending.get(id) : byId.get(id)),
    get: (id) => byId.get(id),
    values: () => byId.values(),
    keys: () => byId.keys(),
    get size() {
      return byId.size;
    },
    put(id, object) {
      pending.set(id, object);
      schedule();
    },
    remove(id) {
      pending.set(id, null);
      schedule();
    },
    // All there is, from now on.
    replace(objects) {
      for (const id of byId.keys()) pending.set(id, null);
      for (const object of objects) pending.set(object[key], object);
      flush();
    },
    watch(id, watcher) {
      if (!watchers.has(id)) watchers.set(id, new Set());
      watchers.get(id).add(watcher);
      return () => {
        const set = watchers.get(id);
        set.delete(watcher);
        if (set.size === 0) watchers.delete(id);
      };
    },
  };
}

export function useItem(items, id) {
  const [, redraw] = useReducer((n) => n + 1, 0);
  const drawn = items.get(id);
  useLayoutEffect(() => {
    if (items.get(id) !== drawn) redraw();
    return items.watch(id, redraw);
  }, [items, id]);
  return drawn;
}
