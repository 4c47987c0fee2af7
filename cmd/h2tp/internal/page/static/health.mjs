// The line at the top: is it well, and if not, why not.

import * as format from './format.mjs';
import { ended, result } from './history.mjs';

const errorShare = 0.01; // of a minute's requests
const errorsLeast = 3;
const certificateTime = 24 * 3600e3; // ms; short-lived ones are renewed with more left
const mostReasons = 5; // shown at the top; tables have the rest
const longest = 160; // characters of one

// sum adds a map of counts up.
export const sum = (map) => Object.values(map ?? {}).reduce((a, b) => a + b, 0);

function destinations(status, why) {
  for (const end of status.ends) {
    for (const { name } of end.routes?.length > 1 ? end.routes : []) {
      const of = end.destinations.filter((d) => d.route === name);
      if (of.length > 0 && of.every((d) => !d.up)) why.push({ key: `route ${name} of ${end.name}`, text: `no destination of route ${name} is up` });
    }
  }
  for (const l of status.ends.flatMap((end) => end.lookups ?? [])) {
    if (l.why) why.push({ key: `lookup ${l.url}`, text: `the lookup of ${l.url} fails, ${l.addresses} found before stay: ${l.why}` });
  }
  const all = status.ends.flatMap((end) => end.destinations);
  const names = new Set(all.map((d) => d.url)); // ends share them
  const down = new Map(all.filter((d) => !d.up).map((d) => [d.url, d.why || 'no connection yet']));
  const of = names.size > 1 ? ` (${down.size} of ${names.size})` : '';
  for (const [url, reason] of down) why.push({ key: `down ${url}`, text: `${url} is down${of}: ${reason}` });
}

function errors(names, minute, why) {
  const failed = minute ? minute.results[result['5xx']] : 0;
  if (failed < errorsLeast || failed < errorShare * ended(minute)) return;
  const own = minute.failures.map((n, i) => [names[i], n]).filter(([what]) => what !== 'cut'); // whose status came before
  const theirs = failed - own.reduce((n, [, m]) => n + m, 0);
  const reasons = [...own, ["the destinations' own", theirs]].filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
  const list = reasons.slice(0, 3).map(([what, n]) => `${what} ${n}`).join(', ');
  const text = `${format.percent(failed / ended(minute))} of the last minute's requests failed`;
  why.push({ key: 'errors', text: list ? `${text}: ${list}` : text });
}

function limits(status, before, why) {
  const met = (flag, count, text) => {
    const n = before ? count(status) - count(before) : 0;
    if (n > 0) why.push({ key: flag, text: `${flag} was met ${n} ${n === 1 ? 'time' : 'times'} in the last minute: ${text}` });
  };
  const of = (name) => (s) => s.ends.reduce((n, e) => n + e[name], 0);
  met('--max-exchanges', of('overloads'), 'requests were answered 503');
  met('--body-memory', of('over_body_memory'), 'messages were refused or cut off');
  met('--retry-percent', of('over_retry_percent'), 'requests that failed were not repeated');
  met('--codec-memory', (s) => s.memory.codecs.refused, 'new streams have a lighter codec');
}

function certificates(status, now, why) {
  for (const [name, at] of Object.entries(status.certificates ?? {})) {
    const left = Date.parse(at) - now;
    if (left > certificateTime) continue;
    why.push({ key: `certificate ${name}`, text: left > 0 ? `the certificate of ${name} ends in ${format.span(left / 1000)}` : `the certificate of ${name} has ended` });
  }
}

// shorten leaves of reasons what a person reads at a glance.
function shorten(why) {
  const list = why.slice(0, mostReasons).map((w) => (w.text.length > longest ? { ...w, text: `${w.text.slice(0, longest)}…` } : w));
  if (why.length > mostReasons) list.push({ key: 'more', text: `and ${why.length - mostReasons} more` });
  return list;
}

// health judges a status: before is the oldest one of the last minute, or null; minute is what happened in it, or null, with
// failures of these names; now is the server's clock in ms. What a screen reader is to say changes with the keys only.
export function health(status, before, minute, names, now) {
  const why = [];
  if (status.draining) return { level: 'drain', word: 'Draining', why: [{ key: 'draining', text: 'what runs finishes, nothing new is taken' }] };
  if (status.why === 'starting') return { level: 'drain', word: 'Starting', why };
  errors(names, minute, why); // what is felt, and then what may be its cause
  destinations(status, why);
  limits(status, before, why);
  certificates(status, now, why);
  if (status.config_refused) why.push({ key: 'config', text: 'the configuration that was read last was refused, the one before it runs' });
  if (!status.ready) {
    if (!why.some((w) => w.key.startsWith('down'))) why.unshift({ key: 'not ready', text: status.why });
    return { level: 'bad', word: 'Down', why: shorten(why) };
  }
  return why.length > 0 ? { level: 'warn', word: 'Degraded', why: shorten(why) } : { level: 'ok', word: 'OK', why };
}
