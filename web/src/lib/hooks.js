// SPDX-License-Identifier: Apache-2.0
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';

// Asks, and asks again each time one of `deps` changes or `again` is called. {data, problem, loading, again}
export function useAsk(ask, deps) {
  const [state, setState] = useState({ data: null, problem: null, loading: true });
  const turn = useRef(0);
  const again = useCallback(async () => {
    const mine = ++turn.current;
    setState((old) => ({ ...old, loading: true }));
    try {
      const data = await ask();
      if (mine === turn.current) setState({ data, problem: null, loading: false });
    } catch (problem) {
      if (mine === turn.current) setState((old) => ({ ...old, problem, loading: false }));
    }
  }, deps);
  useEffect(() => {
    again();
    return () => {
      turn.current++;
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
