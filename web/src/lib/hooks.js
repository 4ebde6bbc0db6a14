// SPDX-License-Identifier: Apache-2.0
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';

// Asks, and asks again each time one of `deps` changes or `again` is called. {data, problem, loading, again}
// An answer is shown unless a later question has been answered: where answers take longer than it is until the
// next is asked for, there would be none else.
export function useAsk(ask, deps) {
  const [state, setState] = useState({ data: null, problem: null, loading: true });
  const { current: turns } = useRef({ asked: 0, shown: 0 });
  const again = useCallback(async () => {
    const mine = ++turns.asked;
    const show = (outcome) => {
      if (mine < turns.shown) return;
      turns.shown = mine;
      setState((old) => ({ ...old, ...outcome, loading: mine < turns.asked }));
    };
    setState((old) => ({ ...old, loading: true }));
    try {
      show({ data: await ask(), problem: null });
    } catch (problem) {
      show({ problem });
    }
  }, deps);
  useEffect(() => {
    again();
    return () => {
      turns.shown = turns.asked + 1;
    };
  }, [again]);
  return { ...state, again };
}

// Calls `again` every so many milliseconds while somebody sees the page.
export function useEvery(period, again) {
  useEffect(() => {
    const timer = setInterval(() => document.hidden || again(), period);
    return () => clearInterval(timer);
  }, [period, again]);
}

// With the page that it is of, and not a frame later: who is moved there is told its name.
export function useTitle(title) {
  useLayoutEffect(() => {
    document.title = `${title} · Torpor`;
  }, [title]);
}
