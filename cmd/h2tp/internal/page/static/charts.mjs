// The charts: uPlot draws, the legends are ours. A series has a colour and a dash of its own, so that it is known by either.

import * as format from './format.mjs';
import { quantile, result, kept } from './history.mjs';

const latencyWindow = 5000; // ms of which a point of latency is
const height = 160;
const late = 4; // seconds after which the last value is not that of now

const perSecond = (name) => (_, d) => d && d.results[result[name]] / d.seconds;
const quantileOf = (q) => (i, _, h) => {
  const d = h.over(latencyWindow, i);
  return d && quantile(q, h.bounds, d.took);
};

// kinds are the charts. What a series tells is made of a sample's index, what happened since the one before, and the
// history. Where a series is all zero, its line is there
// only if it isDrawn, and it is in the legend only then or if it isNamed.
const kinds = [
  {
    title: 'Requests', unit: '/s', write: format.rate,
    series: [
      { name: '2xx', isDrawn: true, colour: '--blue', dash: [], tell: perSecond('2xx') },
      { name: '3xx', colour: '--grey', dash: [8, 4], tell: perSecond('3xx') },
      { name: '4xx', colour: '--amber', dash: [2, 3], tell: perSecond('4xx') },
      { name: '5xx', isNamed: true, colour: '--red', dash: [], width: 2.5, tell: perSecond('5xx') },
      { name: 'gone', colour: '--purple', dash: [6, 3, 2, 3], tell: perSecond('gone'), help: 'nobody waited any more' },
      { name: 'refused', colour: '--green', dash: [1, 2], tell: perSecond('refused'), help: 'requests that became no exchange' },
    ],
  },
  {
    title: 'Latency', write: format.about, isLog: true,
    series: [
      { name: 'p50', isDrawn: true, colour: '--blue', dash: [], tell: quantileOf(0.5) },
      { name: 'p99', isDrawn: true, colour: '--red', dash: [6, 3], tell: quantileOf(0.99) },
    ],
  },
  {
    title: 'Bytes', write: format.bits, fill: '--saved',
    series: [
      { name: 'without the hop', isDrawn: true, colour: '--blue', dash: [], tell: (_, d) => d && (8 * d.plain) / d.seconds, help: "clients' bytes; at a back, records before the codec" },
      { name: 'on the hop', colour: '--red', dash: [6, 3], tell: (_, d) => d && (8 * d.hop) / d.seconds, help: 'without TLS' },
    ],
  },
  {
    title: 'In flight', write: format.count, isWhole: true,
    series: [{ name: 'exchanges', isDrawn: true, colour: '--blue', dash: [], tell: (i, _, h) => h.samples[i].in_flight }],
  },
];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function element(name, parent, attributes = {}, text = '') {
  const svg = ['svg', 'line'].includes(name);
  const e = svg ? document.createElementNS('http://www.w3.org/2000/svg', name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  e.textContent = text;
  parent.append(e);
  return e;
}

const wholes = Array.from({ length: 7 }, (_, n) => [1, 2, 5].map((m) => m * 10 ** n)).flat();

// decades are where a logarithmic axis has a line.
function decades(_, axis, low, high) {
  const list = [];
  for (let n = Math.round(Math.log10(low)); n <= Math.round(Math.log10(high)); n++) list.push(Number((10 ** n).toPrecision(1)));
  return list;
}

class Chart {
  constructor(kind, parent, onCursor) {
    this.kind = kind;
    this.onCursor = onCursor;
    const figure = element('figure', parent);
    const caption = element('figcaption', figure);
    element('h3', caption, {}, kind.title);
    const legend = element('ul', caption);
    this.values = kind.series.map((s) => {
      const item = element('li', legend, s.help ? { title: s.help } : {});
      const swatch = element('svg', item, { class: 'swatch', viewBox: '0 0 24 8', 'aria-hidden': 'true' });
      element('line', swatch, { x1: 0, x2: 24, y1: 4, y2: 4, class: s.colour.slice(2), 'stroke-dasharray': s.dash.join(' ') || 'none', 'stroke-width': s.width ?? 1.75 });
      item.append(` ${s.name} `);
      return element('b', item, {}, format.none);
    });
    this.room = element('div', figure, { class: 'plot', 'aria-hidden': 'true' });
    this.data = [[], ...kind.series.map(() => [])];
    new ResizeObserver(() => this.plot?.setSize({ width: this.room.clientWidth, height })).observe(this.room);
  }

  // build makes the plot anew: its colours are drawn, not styled.
  build() {
    this.plot?.destroy();
    const { kind } = this;
    const axis = { stroke: colour('--muted'), font: '12px system-ui, sans-serif', grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false } };
    const series = kind.series.map((s) => ({
      label: s.name, stroke: colour(s.colour), dash: s.dash, width: s.width ?? 1.75, points: { show: false }, spanGaps: false,
    }));
    this.plot = new uPlot({
      width: this.room.clientWidth, height, legend: { show: false }, padding: [8, 8, 0, 0],
      cursor: { sync: { key: 'h2tp' }, drag: { x: false, y: false }, points: { size: 6 } },
      scales: { x: { time: true, range: () => this.range() }, y: { distr: kind.isLog ? 3 : 1, range: (_, low, high) => this.heights(low, high) } },
      series: [{}, ...series],
      bands: kind.fill ? [{ series: [1, 2], fill: colour(kind.fill) }] : [],
      axes: [
        { ...axis, size: 24, gap: 4, space: 70, values: (_, list) => list.map((t) => format.clock(1000 * t).slice(0, 5)), incrs: [60, 120, 300] },
        { ...axis, size: 72, gap: 6, space: 26, values: (_, list) => list.map((v) => kind.write(v)), ...(kind.isLog ? { splits: decades } : {}), ...(kind.isWhole ? { incrs: wholes } : {}) },
      ],
      hooks: { setCursor: [(u) => this.onCursor(u.cursor.idx ?? null)] },
    }, this.data, this.room);
  }

  range() {
    return [this.until - kept / 1000, this.until];
  }

  heights(low, high) {
    if (this.kind.isLog) return low > 0 ? [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high * 1.001))] : [0.001, 1];
    return [Math.min(0, low ?? 0), Math.max(high > 0 ? high * 1.1 : 1, this.kind.isWhole ? 2 : 0)];
  }

  set(history, until) {
    this.until = until;
    this.data = history.columns(...this.kind.series.map((s) => (i, d) => s.tell(i, d, history)));
    this.kind.series.forEach((s, n) => {
      const has = Boolean(s.isDrawn) || this.data[n + 1].some((v) => v);
      this.values[n].parentElement.hidden = !has && !s.isNamed;
      if (this.plot.series[n + 1].show !== has) this.plot.setSeries(n + 1, { show: has });
    });
    this.plot.setData(this.data);
  }

  // show writes the values at an index, or the last ones.
  show(i) {
    this.kind.series.forEach((_, n) => {
      const column = this.data[n + 1];
      const isLate = this.until - this.data[0][column.length - 1] > late;
      const text = this.kind.write(i === null && isLate ? null : (column[i ?? column.length - 1] ?? null));
      if (this.values[n].textContent !== text) this.values[n].textContent = text;
    });
  }
}

export class Charts {
  constructor(parent, at) {
    this.at = at;
    this.index = null;
    this.charts = kinds.map((kind) => new Chart(kind, parent, (i) => this.point(i)));
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.build());
    this.build();
  }

  build() {
    for (const c of this.charts) c.build();
  }

  // set draws a history up to a time in ms.
  set(history, until) {
    for (const c of this.charts) c.set(history, until / 1000);
    this.point(this.charts[0].plot.cursor.idx ?? null);
  }

  point(i) {
    const times = this.charts[0].data[0];
    const isThere = i !== null && i < times.length && (this.charts[0].plot?.cursor.left ?? -1) >= 0;
    for (const c of this.charts) c.show(isThere ? i : null);
    this.at.textContent = isThere ? `values at ${format.clock(1000 * times[i])}` : '';
  }
}
