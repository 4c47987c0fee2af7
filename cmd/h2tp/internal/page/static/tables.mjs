// The tables. A cell is a text, or {text, more, level}; the rows of a table change in place, so that what is marked stays.

import * as format from './format.mjs';
import { quantile } from './history.mjs';
import { sum } from './health.mjs';

export const marks = { ok: '✓', warn: '!', bad: '✕', drain: '↓', lost: '?', unknown: '…' };

function put(parent, name, n, role) {
  while (parent.children.length > n) parent.lastElementChild.remove();
  while (parent.children.length < n) parent.append(document.createElement(name));
  for (const e of role ? parent.children : []) e.setAttribute('role', role);
  return [...parent.children];
}

function write(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

function cell(td, value) {
  const { text, more, level } = typeof value === 'object' ? value : { text: value };
  if (level) td.dataset.level = level;
  else delete td.dataset.level;
  const parts = put(td, 'span', more ? 2 : 1);
  write(parts[0], level ? `${marks[level]} ${text}` : text);
  if (more) write(parts[1], more);
}

function fill(table, heads, rows) {
  const [head, body] = [table.tHead ?? table.createTHead(), table.tBodies[0] ?? table.createTBody()];
  head.setAttribute('role', 'rowgroup');
  body.setAttribute('role', 'rowgroup');
  const [line] = put(head, 'tr', 1, 'row');
  put(line, 'th', heads.length, 'columnheader').forEach((th, i) => {
    th.scope = 'col';
    write(th, heads[i]);
  });
  put(body, 'tr', rows.length, 'row').forEach((tr, n) => {
    if (tr.firstElementChild?.tagName !== 'TH') tr.prepend(document.createElement('th'));
    tr.firstElementChild.scope = 'row';
    tr.firstElementChild.setAttribute('role', 'rowheader');
    while (tr.children.length > heads.length) tr.lastElementChild.remove();
    while (tr.children.length < heads.length) tr.append(document.createElement('td'));
    [...tr.children].forEach((td, i) => {
      if (i > 0) td.setAttribute('role', 'cell');
      td.dataset.head = heads[i];
      cell(td, rows[n][i]);
    });
  });
}

// p99 is of what grew of a histogram.
const p99 = (now, old) => format.about(old ? quantile(0.99, now.bounds, now.counts.map((n, i) => Math.max(0, n - old.counts[i]))) : null);

// before finds what a destination was, though routes may have come and gone.
const before = (d, was) => was?.destinations.find((o) => o.route === d.route && o.url === d.url);

// rates compares two statuses of one process: now, and one before it or null.
export class Rates {
  constructor(now, before) {
    this.now = now;
    this.before = before;
    this.seconds = before ? now.uptime_seconds - before.uptime_seconds : 0;
  }

  // each calls f with each end and its destinations, beside what they were.
  ends() {
    return this.now.ends.map((end) => [end, this.before?.ends.find((o) => o.name === end.name)]);
  }

  rate(now, before) {
    return this.before && this.seconds > 0 && now >= before ? (now - before) / this.seconds : null;
  }
}

function health(d) {
  const out = d.ejections > 0 ? `left out ${d.ejections} ${d.ejections === 1 ? 'time' : 'times'}` : '';
  return d.up ? { text: 'up', more: out, level: 'ok' } : { text: 'down', more: [d.why || 'no connection yet', out].filter(Boolean).join('; '), level: 'bad' };
}

export function destinations(table, rates) {
  const isMany = rates.now.ends.length > 1;
  const rows = rates.ends().flatMap(([end, was]) => end.destinations.map((d) => {
    const old = before(d, was);
    const ended = (x) => sum(x?.results) + sum(x?.failures);
    const failed = rates.rate(sum(d.failures), sum(old?.failures));
    return { isDown: !d.up, cells: [
      { text: d.url, more: [isMany && `of ${end.name}`, d.route !== 'default' && d.route].filter(Boolean).join(', ') },
      health(d),
      format.rate(rates.rate(ended(d), ended(old))),
      { text: format.rate(failed), more: sum(d.failures) > 0 ? `${format.count(sum(d.failures))} in all` : '', level: failed > 0 ? 'warn' : '' },
      p99(d.duration, old?.duration),
      { text: format.count(d.in_flight), more: [d.limit > 0 && `of ${format.count(d.limit)}`, d.waiting > 0 && `${format.count(d.waiting)} wait`].filter(Boolean).join(', ') },
      format.count(d.connections),
      d.weight > 0 ? { text: String(d.weight), more: d.tier > 0 ? `tier ${d.tier}` : '' } : format.none,
    ] };
  }));
  rows.sort((a, b) => b.isDown - a.isDown); // else as in --to
  fill(table, ['Destination', 'Health', 'Requests', 'Failures', 'p99', 'In flight', 'Connections', 'Weight'], rows.map((r) => r.cells));
}

// routes fills the table, and reports whether it says more than the rest of the page: there are several.
export function routes(table, rates) {
  const rows = rates.ends().flatMap(([end, was]) => (end.routes ?? []).map((r) => {
    const old = was?.routes?.find((o) => o.name === r.name);
    const failed = rates.rate(r.results['5xx'] ?? 0, old?.results['5xx'] ?? 0);
    return [
      { text: r.name, more: rates.now.ends.length > 1 ? `of ${end.name}` : '' },
      { text: format.rate(rates.rate(sum(r.results), sum(old?.results))), more: `${format.count(sum(r.results))} in all` },
      { text: format.rate(failed), more: r.results['5xx'] > 0 ? `${format.count(r.results['5xx'])} in all` : '', level: failed > 0 ? 'warn' : '' },
      p99(r.duration, old?.duration),
      format.count(r.in_flight),
    ];
  }));
  fill(table, ['Route', 'Requests', '5xx', 'p99', 'In flight'], rows);
  return rows.length > rates.now.ends.length;
}

// codecs tells how many sessions send with which.
function codecs(n) {
  const list = Object.entries(n).sort((a, b) => b[1] - a[1]);
  return list.map(([codec, times]) => (times > 1 ? `${codec} × ${times}` : codec)).join(', ') || format.none;
}

function ratio(hop) {
  const [plain, coded] = [hop.plain_in_bytes + hop.plain_out_bytes, hop.coded_in_bytes + hop.coded_out_bytes];
  return coded > 0 ? `${(plain / coded).toFixed(1)} : 1` : format.none;
}

// hops fills the table, and reports whether there are any.
export function hops(table, rates) {
  const rows = [];
  const add = (name, hop, old) => hop && rows.push([
    name,
    codecs(hop.codecs),
    ratio(hop),
    format.bits(rates.rate(8 * hop.received_bytes, 8 * old?.received_bytes)),
    format.bits(rates.rate(8 * hop.sent_bytes, 8 * old?.sent_bytes)),
    { text: format.about(hop.round_trip_seconds || null), more: hop.wire_resent_bytes > 0 ? `${format.percent(hop.wire_resent_bytes / hop.wire_sent_bytes)} resent` : '' },
    format.count(hop.connections),
    { text: format.count(hop.streams), more: `${format.count(hop.ready_streams)} ready` },
  ]);
  for (const [end, was] of rates.ends()) {
    add({ text: 'fronts', more: `at ${end.name}` }, end.peers, was?.peers);
    for (const d of end.destinations) add(d.url, d.hop, before(d, was)?.hop);
  }
  fill(table, ['Peer', 'Codec', 'Plain to coded', 'Received', 'Sent', 'Round trip', 'Connections', 'Streams'], rows);
  return rows.length > 0;
}

export function ends(table, rates) {
  const rows = rates.ends().map(([end, was]) => [
    { text: end.listen.join(' '), more: end.kind },
    { ...(end.draining ? { text: 'draining', level: 'drain' } : { text: 'accepts', level: 'ok' }), more: end.leaving > 0 ? `${end.leaving} destinations leave` : '' },
    format.rate(rates.rate(end.exchanges, was?.exchanges)),
    format.count(end.in_flight),
    format.count(end.client_connections || (end.peers?.connections ?? 0)),
    format.bytes(end.message_memory_bytes),
  ]);
  fill(table, ['Listener', 'State', 'Requests', 'In flight', 'Connections', 'Messages'], rows);
}

// certificates fills the table, and reports whether there are any.
export function certificates(table, status, now) {
  const list = Object.entries(status.certificates ?? {}).map(([name, at]) => [name, Date.parse(at)]).sort((a, b) => a[1] - b[1]);
  fill(table, ['Name', 'Ends', 'Left'], list.map(([name, at]) => {
    const left = at - now;
    const level = left <= 0 ? 'bad' : left < 24 * 3600e3 ? 'warn' : 'ok';
    return [name, format.day(at), { text: left > 0 ? format.span(left / 1000) : 'ended', level }];
  }));
  return list.length > 0;
}
