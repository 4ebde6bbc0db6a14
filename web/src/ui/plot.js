// SPDX-License-Identifier: Apache-2.0
// uPlot, in the page's colours; what the pointer is at is told beside the title, and all of it in a
// sentence to those who don't see it.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import { bytes, timeOfDay, when } from '../lib/format.js';
import { html } from '../lib/html.js';
import { useWidth } from '../lib/window.js';

const dark = matchMedia('(prefers-color-scheme: dark)');

function useScheme() {
  const [is, set] = useState(dark.matches);
  useEffect(() => {
    const hear = () => set(dark.matches);
    dark.addEventListener('change', hear);
    return () => dark.removeEventListener('change', hear);
  }, []);
  return is;
}

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Axes have round numbers.
const short = (text) => text.replace(/\.0(?= )/, '');

// Of sizes: powers of two, as they are read.
const DOUBLINGS = Array.from({ length: 50 }, (_, i) => 2 ** i);

function axes(format, time, binary) {
  const common = {
    stroke: color('--ink-3'),
    font: '11px system-ui, sans-serif',
    grid: { stroke: color('--line'), width: 1 },
    ticks: { stroke: color('--line'), width: 1, size: 4 },
  };
  const clock = (u, splits) => {
    const chars = splits.length > 1 && splits[1] - splits[0] < 60 ? 8 : 5; // with seconds, or without
    return splits.map((t) => timeOfDay(t * 1000).slice(0, chars));
  };
  return [
    { ...common, size: 26, space: 70, grid: { show: false }, values: time ? clock : undefined },
    {
      ...common,
      size: 64,
      space: 32,
      ...(binary && { incrs: DOUBLINGS }),
      values: (u, splits) => splits.map((v) => (v === null ? '' : short(format(v)))),
    },
  ];
}

// The line is broken where nothing was measured for longer than so.
const breaks = (seconds) => (u, at, first, last, gaps) => {
  const [xs] = u.data;
  for (let i = first + 1; i <= last; i++) {
    if (xs[i] - xs[i - 1] > seconds)
      uPlot.addGap(gaps, u.valToPos(xs[i - 1], 'x', true), u.valToPos(xs[i], 'x', true));
  }
  return gaps;
};

// `series`: [{label, color: a variable of the style sheet, fill, dash}]; x in seconds.
function options({ series, format, most, gapSeconds }, width, height, hover) {
  return {
    width,
    height,
    legend: { show: false },
    cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
    scales: {
      x: { time: true },
      y: { range: (u, low, high) => [0, Math.max(most ?? 0, high ? high * 1.08 : 1)] },
    },
    axes: axes(format, true, format === bytes),
    series: [
      {},
      ...series.map(({ label, color: name, fill, dash }) => ({
        label,
        stroke: color(name),
        width: 1.5,
        dash,
        fill: fill ? color(fill) : undefined,
        points: { size: 4, space: 12 },
        spanGaps: false,
        ...(gapSeconds && { gaps: breaks(gapSeconds) }),
      })),
    ],
    hooks: { setCursor: [(u) => hover(u.cursor.idx ?? null)] },
  };
}

export function Plot({ title, data, series, format, most, gapSeconds, height = 150, empty, from, to }) {
  const box = useRef();
  const plot = useRef(null);
  const width = useWidth(box);
  const scheme = useScheme();
  const [at, setAt] = useState(null);
  const has = data[0].length > 0;

  useLayoutEffect(() => {
    if (width === 0) return undefined;
    plot.current = new uPlot(
      options({ series, format, most, gapSeconds }, width, height, setAt),
      data,
      box.current,
    );
    return () => {
      plot.current.destroy();
      plot.current = null;
    };
  }, [width > 0, scheme, series.length]);
  useLayoutEffect(() => {
    if (width > 0) plot.current?.setSize({ width, height });
  }, [width, height]);
  useLayoutEffect(() => {
    plot.current?.batch(() => {
      plot.current.setData(data, false);
      plot.current.setScale('x', { min: from, max: to });
    });
  }, [data, from, to, width > 0, scheme]);

  const last = data[0].length - 1;
  const i = at ?? last;
  const told = series.map(({ label }, s) => {
    const value = data[s + 1][i];
    const figure = value === null || value === undefined ? '–' : format(value);
    return label ? `${label} ${figure}` : figure;
  });
  const spoken = has ? `${title}: ${told.join(', ')}` : `${title}: nothing measured yet`;
  return html`<figure class="plot-figure">
    <figcaption>
      <b>${title}</b>
      <span class="dim">
        ${has && html`${told.join(' · ')}${at !== null ? ` · ${when(data[0][i] * 1000)}` : ''}`}
      </span>
    </figcaption>
    <div class="plot" ref=${box} style=${{ height: `${height}px` }} role="img" aria-label=${spoken}>
      ${!has && html`<p class="nothing">${empty}</p>`}
    </div>
  </figure>`;
}

const TENS = [0.1, 1, 10, 100, 1000, 10000, 100000];
const HALVES = TENS.flatMap((n) => [n, 2 * n, 5 * n]);

function ticks(low, high) {
  return (high / low > 300 ? TENS : HALVES).filter((t) => t >= low && t <= high);
}


// How often what took how long: bars over a scale of powers of ten.
export function Histogram({ buckets, format, label, height = 110 }) {
  const box = useRef();
  const width = useWidth(box);
  const scheme = useScheme();
  useLayoutEffect(() => {
    if (width === 0 || buckets.length === 0) return undefined;
    const common = axes(format, false);
    const [low, high] = [buckets[0][0], buckets.at(-1)[0]];
    const plot = new uPlot(
      {
        width,
        height,
        legend: { show: false },
        cursor: { show: false },
        scales: {
          x: { time: false, distr: 3, log: 10, range: () => [low / 2.5, high * 2.5] },
          y: { range: (u, least, most) => [0, Math.max(1, most * 1.1)] },
        },
        axes: [
          {
            ...common[0],
            splits: () => ticks(low / 2.5, high * 2.5),
            filter: (u, splits) => splits,
            values: (u, splits) => splits.map((t) => short(format(t))),
          },
          { ...common[1], show: false },
        ],
        series: [
          {},
          {
            stroke: color('--frost'),
            fill: color('--frost-fill'),
            width: 1,
            paths: uPlot.paths.bars({ size: [0.9, 14, 2] }),
            points: { show: false },
          },
        ],
      },
      [buckets.map(([le]) => le), buckets.map(([, n]) => n)],
      box.current,
    );
    return () => plot.destroy();
  }, [width, scheme, buckets]);
  return html`<div class="plot" ref=${box} style=${{ height: `${height}px` }} role="img" aria-label=${label}></div>`;
}
