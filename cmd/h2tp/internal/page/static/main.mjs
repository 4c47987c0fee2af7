// The page: it asks /status each second and shows the answer.

import { Charts } from './charts.mjs';
import * as format from './format.mjs';
import { health } from './health.mjs';
import { History, ended, quantile, result } from './history.mjs';
import * as tables from './tables.mjs';

const period = 1000; // ms between two answers
const patience = 5000; // ms for one
const window_ = 5000; // ms that "now" is
const minute = 60_000;

const $ = (id) => document.getElementById(id);
const history = new History();
const charts = new Charts($('charts'), $('at'));
let polls = []; // {at, status} of the last minute of one process
let answered = null; // {at: the server's clock, here: ours}

function write(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

// now is the server's clock, in ms, also while it does not answer.
const now = () => (answered ? answered.at + performance.now() - answered.here : Date.now());

function take(status) {
  const at = Date.parse(status.started) + 1000 * status.uptime_seconds;
  if (polls.length > 0 && polls[0].status.started !== status.started) polls = [];
  answered = { at, here: performance.now() };
  polls.push({ at, status });
  polls = polls.filter((p) => at - p.at <= minute);
  history.add(status.started, status.history);
}

// before is the oldest answer of the last ms, or null.
function before(ms) {
  const p = polls.find((x) => answered.at - x.at <= ms);
  return p && p !== polls[polls.length - 1] ? p.status : null;
}

function tiles(d, status) {
  const last = history.last();
  const rate = (n) => (d ? n / d.seconds : null);
  const class_ = (name) => rate(d?.results[result[name]]);
  const all = d ? ended(d) : null;
  const sum = (f) => status.ends.reduce((n, e) => n + f(e), 0);
  const hasClients = status.ends.some((e) => e.kind === 'front');
  write($('requests'), format.rate(rate(all)));
  write($('requests-more'), `${format.count(last ? ended(last) : null)} since the start`);
  write($('errors'), format.percent(all ? d.results[result['5xx']] / all : all === 0 ? 0 : null));
  $('errors').dataset.level = all > 0 && d.results[result['5xx']] >= 0.01 * all ? 'warn' : 'unknown';
  write($('errors-more'), `5xx ${format.rate(class_('5xx'))}, 4xx ${format.rate(class_('4xx'))}`);
  const [p50, p99] = [0.5, 0.99].map((q) => format.about(d && quantile(q, history.bounds, d.took)));
  write($('latency'), p50 === format.none ? p50 : `${p50} / ${p99}`);
  write($('latency-more'), p50 === format.none ? 'no requests' : 'estimates');
  const hasHop = last && last.hop_bytes > 0;
  write($('saving'), hasHop ? format.bits(d && rate(8 * (d.plain - d.hop))) : format.none);
  write($('saving-more'), hasHop && d?.plain > 0 ? `${format.percent(1 - d.hop / d.plain)} of ${format.bits(rate(8 * d.plain))}` : hasHop ? 'nothing to save' : 'no hop');
  write($('saved'), hasHop ? format.bytes(last.plain_bytes - last.hop_bytes) : format.none);
  write($('saved-more'), hasHop && last.plain_bytes > 0 ? `${format.percent(1 - last.hop_bytes / last.plain_bytes)} of ${format.bytes(last.plain_bytes)}` : '');
  write($('flight'), format.count(sum((e) => e.in_flight)));
  write($('flight-more'), `${format.count(sum((e) => e.client_connections + (e.peers?.connections ?? 0)))} connections of ${hasClients ? 'clients' : 'fronts'}`);
}

// say shows the state. What is read aloud changes with the state and the kinds of reasons, not with each number.
let spoken = '';
function say({ level, word, why }) {
  document.body.dataset.level = level;
  write($('sign'), tables.marks[level]);
  write($('state'), word);
  const list = $('why');
  while (list.children.length > why.length) list.lastElementChild.remove();
  why.forEach((w, i) => write(list.children[i] ?? list.appendChild(document.createElement('li')), w.text));
  const keys = [word, ...why.map((w) => w.key)].join();
  if (keys !== spoken) write($('said'), [word, ...why.map((w) => w.text)].join('. '));
  spoken = keys;
  document.title = `${word} · h2tp ${location.host}`;
}

function show(status) {
  const rates = new tables.Rates(status, before(2 * window_));
  const at = answered.at;
  say(health(status, before(minute), history.over(minute), history.failures, at));
  tiles(history.over(window_), status);
  tables.destinations($('destinations'), rates);
  $('routes-section').hidden = !tables.routes($('routes'), rates);
  $('hops-section').hidden = !tables.hops($('hops'), rates);
  tables.ends($('ends'), rates);
  $('certificates-section').hidden = !tables.certificates($('certificates'), status, at);
  const from = status.ends.flatMap((e) => e.listen);
  const to = [...new Set(status.ends.flatMap((e) => e.destinations.map((d) => d.url)))];
  const few = (list, what) => (list.length > 3 ? `${list.length} ${what}` : list.join(', '));
  write($('who'), `${few(from, 'listeners')} → ${few(to, 'destinations')} · up ${format.span(status.uptime_seconds)}`);
  write($('about'), `${status.version} · ${format.bytes(status.memory.heap)} of heap, codecs ${format.bytes(status.memory.codecs.used)}, windows ${format.bytes(status.memory.windows.used)} · times are the server's clock in your time zone`);
  for (const e of document.querySelectorAll('.stale')) write(e, '');
}

// reasons are why there is no answer, by the name of the error.
const reasons = { TypeError: 'nothing listens there, or the way to it is cut', TimeoutError: `nothing came within ${patience / 1000} s` };

// lose says that there is no answer. Rates of now are not known; tables show what was.
function lose(err) {
  const since = answered ? ` since ${format.clock(answered.at)}` : '';
  say({ level: 'lost', word: `No answer${since}`, why: [{ key: 'lost', text: reasons[err.name] ?? err.message }] });
  for (const dd of document.querySelectorAll('.tiles dd')) write(dd, dd.id.endsWith('-more') ? '' : format.none);
  for (const e of document.querySelectorAll('.stale')) write(e, since && `as of ${format.clock(answered.at)}`);
}

async function ask(after) {
  const resp = await fetch(`status?after=${after}`, { signal: AbortSignal.timeout(patience), cache: 'no-store' });
  if (!resp.ok) throw new Error(`status ${resp.status}`);
  return resp.json();
}

async function turn() {
  const began = performance.now();
  try {
    let status = await ask(history.last()?.at ?? 0);
    // Another process may have sampled at times that we have already: its clock was set back.
    if (polls.length > 0 && polls[0].status.started !== status.started) status = await ask(0);
    take(status);
    show(status);
  } catch (err) {
    lose(err);
  }
  if (!document.hidden) charts.set(history, now());
  setTimeout(turn, Math.max(50, period - (performance.now() - began)));
}

turn();
