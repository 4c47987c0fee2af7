// The line at the top: is it well, and if not, why not.

import * as format from './format.mjs';
import { ended, result } from './history.mjs';

const errorShare = 0.01; // of a minute's requests
const errorsLeast = 3;
const certificateTime = 24 * 3600e3; // ms; short-lived ones are renewed with more left
const full = 0.95;

const sum = (map) => Object.values(map ?? {}).reduce((a, b) => a + b, 0);

// grown is how much each count of a map grew, of those that did.
export function grown(now, before) {
  const list = Object.entries(now ?? {}).map(([what, n]) => [what, n - (before?.[what] ?? 0)]);
  return list.filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
}

function destinations(status, why) {
  for (const end of status.ends) {
    const down = end.destinations.filter((d) => !d.up);
    for (const d of down) {
      const of = end.destinations.length > 1 ? ` (${down.length} of ${end.destinations.length})` : '';
      why.push({ key: `down ${d.url}`, text: `${d.url} is down${of}: ${d.why || 'no connection yet'}` });
    }
  }
}

function errors(status, before, minute, why) {
  const failed = minute ? minute.results[result['5xx']] : 0;
  if (failed < errorsLeast || failed < errorShare * ended(minute)) return;
  const reasons = before ? status.ends.flatMap((e, i) => grown(e.failures, before.ends[i]?.failures)) : [];
  const list = reasons.slice(0, 3).map(([what, n]) => `${what} ${n}`).join(', ');
  const text = `${format.percent(failed / ended(minute))} of the last minute's requests failed`;
  why.push({ key: 'errors', text: list ? `${text}: ${list}` : text });
}

function limits(status, before, why) {
  const overloads = (s) => s.ends.reduce((n, e) => n + e.overloads, 0);
  const n = before ? overloads(status) - overloads(before) : 0;
  if (n > 0) why.push({ key: 'overload', text: `${n} requests of the last minute were over --max-exchanges` });
  for (const [name, flag] of [['codecs', '--codec-memory'], ['windows', '--window-memory']]) {
    const m = status.memory[name];
    if (m.limit > 0 && m.used >= full * m.limit) why.push({ key: flag, text: `${flag} is used up: ${format.bytes(m.used)} of ${format.bytes(m.limit)}` });
  }
}

function certificates(status, now, why) {
  for (const [name, at] of Object.entries(status.certificates ?? {})) {
    const left = Date.parse(at) - now;
    if (left > certificateTime) continue;
    why.push({ key: `certificate ${name}`, text: left > 0 ? `the certificate of ${name} ends in ${format.span(left / 1000)}` : `the certificate of ${name} has ended` });
  }
}

// health judges a status: before is the oldest one of the last minute, or null; minute is what happened in it, or null; now is
// the server's clock in ms. What a screen reader is to say changes with the keys only.
export function health(status, before, minute, now) {
  const why = [];
  if (status.draining) return { level: 'drain', word: 'Draining', why: [{ key: 'draining', text: 'what runs finishes, nothing new is taken' }] };
  if (status.why === 'starting') return { level: 'drain', word: 'Starting', why };
  destinations(status, why);
  errors(status, before, minute, why);
  limits(status, before, why);
  certificates(status, now, why);
  if (!status.ready) {
    if (!why.some((w) => w.key.startsWith('down'))) why.unshift({ key: 'not ready', text: status.why });
    return { level: 'bad', word: 'Down', why };
  }
  return why.length > 0 ? { level: 'warn', word: 'Degraded', why } : { level: 'ok', word: 'OK', why };
}

export { sum };
