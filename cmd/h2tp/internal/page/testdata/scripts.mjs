// Tests of the page's scripts that need no browser.

import assert from 'node:assert/strict';
import * as format from '../static/format.mjs';
import { health } from '../static/health.mjs';
import { History, between, ended, quantile } from '../static/history.mjs';

const bounds = [0.001, 0.01, 0.1];
const sample = (at, n, more = {}) => ({ at, in_flight: n, plain_bytes: 1000 * n, hop_bytes: 100 * n, results: [0, n, 0, 0, 0, 0, 0], failures: [0, n], took: [n, 0, 0, 0], ...more });
const filled = (run, ...samples) => {
  const h = new History();
  h.add(run, { bounds, samples });
  return h;
};

const tests = {
  'a rate is what grew over its time'() {
    const h = filled('a', sample(1000, 10), sample(2000, 20), sample(3000, 60));
    const d = h.over(5000);
    assert.deepEqual([d.seconds, ended(d), d.plain, d.hop], [2, 50, 50_000, 5000]);
    const [times, n] = h.columns((_, x) => x && ended(x) / x.seconds);
    assert.deepEqual([times, n], [[1, 2, 3], [null, 10, 40]]);
  },
  'another process is a gap, never a rate'() {
    const h = filled('a', sample(1000, 10), sample(2000, 1000));
    h.add('b', { bounds, samples: [sample(2500, 5), sample(3500, 7)] });
    assert.equal(ended(h.over(5000)), 2);
    const [times, n] = h.columns((_, x) => x && ended(x) / x.seconds);
    assert.deepEqual([times, n], [[1, 2, 2.001, 2.5, 3.5], [null, 990, null, null, 2]]);
  },
  'counts that go back are no rate'() {
    assert.equal(between({ ...sample(1000, 10), run: 'a' }, { ...sample(2000, 9), run: 'a' }), null);
  },
  'samples that are missing are a gap'() {
    const h = filled('a', sample(1000, 1), sample(60_000, 100), sample(61_000, 102));
    assert.deepEqual(h.columns((_, x) => x && ended(x))[1], [null, null, null, 2]);
    assert.equal(ended(h.over(5000)), 2);
  },
  'samples that came late are rates over their time'() {
    const h = filled('a', sample(1000, 1), sample(9000, 9));
    assert.deepEqual(h.columns((_, x) => x && ended(x) / x.seconds)[1], [null, 1]);
    assert.equal(h.over(5000).seconds, 8);
  },
  'samples come once, and a clock that was set back drops what is later'() {
    const h = filled('a', sample(1000, 1), sample(2000, 2));
    h.add('a', { bounds, samples: [sample(2000, 2), sample(3000, 3)] });
    assert.deepEqual(h.samples.map((s) => s.at), [1000, 2000, 3000]);
    h.add('b', { bounds, samples: [sample(1500, 0)] });
    assert.deepEqual(h.samples.map((s) => s.at), [1000, 1500]);
  },
  'ten minutes are kept'() {
    const h = filled('a', ...Array.from({ length: 2000 }, (_, i) => sample(1000 * i, i)));
    assert.equal(h.samples.length, 601);
  },
  'quantiles lie within their bucket'() {
    assert.equal(quantile(0.5, bounds, [0, 0, 0, 0]), null);
    const p50 = quantile(0.5, bounds, [0, 10, 0, 0]);
    assert.ok(p50 > 0.001 && p50 < 0.01);
    assert.ok(Math.abs(quantile(0.99, bounds, [0, 100, 0, 0]) / 0.01 - 1) < 0.05);
    assert.ok(quantile(0.01, bounds, [5, 0, 0, 0]) > 0);
    assert.equal(quantile(0.99, bounds, [0, 0, 0, 3]), 0.1);
  },
  'numbers have three digits and a unit'() {
    const cases = [
      [format.count(0), '0'], [format.count(1234), '1234'], [format.count(16300), '16.3 k'], [format.count(null), '–'],
      [format.rate(0.25), '0.25/s'], [format.rate(135.4), '135/s'], [format.rate(0.001), '<0.01/s'], [format.rate(2.5e6), '2.5 M/s'],
      [format.bits(1234567), '1.23 Mbit/s'], [format.bits(-2500), '−2.5 kbit/s'], [format.bits(0), '0 bit/s'], [format.bytes(999_999), '1 MB'],
      [format.percent(0.857), '85.7 %'], [format.percent(NaN), '–'], [format.seconds(0.00025), '250 µs'], [format.about(0.0767), '77 ms'],
      [format.about(0), '0 µs'], [format.seconds(2.5), '2.5 s'], [format.span(0), '0 s'], [format.span(65), '1 min 5 s'], [format.span(86400 * 3 + 7200), '3 d 2 h'],
      [format.count(100), '100'], [format.bytes(10), '10 B'], [format.rate(-0.004), '<0.01/s'],
    ];
    for (const [got, want] of cases) assert.equal(got, want);
  },
};

// Health.
const destination = (url, up, why) => ({ url, up, why });
const state = (more = {}) => ({
  ready: true, draining: false, certificates: {},
  memory: { codecs: { used: 0, limit: 100, refused: 0 }, windows: { used: 0, limit: 100 } },
  ends: [{ name: 'http', overloads: 0, over_body_memory: 0, over_retry_percent: 0, destinations: [destination('http://a', true), destination('http://b', true)] }],
  ...more,
});
const judge = (status, before = null, minute = null, now = 0) => {
  const h = health(status, before, minute, ['timeout', 'upstream', 'overload'], now);
  return `${h.word}: ${h.why.map((w) => w.text).join('; ')}`;
};
const minuteOf = (n2xx, n5xx, failures = [0, 0, 0]) => ({ results: [0, n2xx, 0, 0, n5xx, 0, 0], failures });

Object.assign(tests, {
  'all is well'() {
    assert.equal(judge(state(), state(), minuteOf(1000, 9)), 'OK: ');
  },
  'a destination that is down, with why'() {
    const s = state();
    s.ends[0].destinations[1] = destination('http://b', false, 'refused');
    assert.equal(judge(s), 'Degraded: http://b is down (1 of 2): refused');
    s.ends[0].destinations = [destination('http://b', false, '')];
    assert.equal(judge({ ...s, ready: false, why: 'no destination of http is up' }), 'Down: http://b is down: no connection yet');
  },
  'a route that leads nowhere'() {
    const s = state();
    s.ends[0].routes = [{ name: 'default' }, { name: 'a/api' }];
    s.ends[0].destinations = [{ ...destination('http://a', true), route: 'default' }, { ...destination('http://b', false, 'refused'), route: 'a/api' }];
    assert.equal(judge(s), 'Degraded: no destination of route a/api is up; http://b is down (1 of 2): refused');
  },
  'a name that is not found any more'() {
    const s = state();
    s.ends[0].lookups = [{ url: 'http://ok', addresses: 2 }, { url: 'http://name', addresses: 3, why: 'no such host' }];
    assert.equal(judge(s), 'Degraded: the lookup of http://name fails, 3 found before stay: no such host');
  },
  'no more reasons than a person reads at a glance'() {
    const s = state();
    s.ends[0].destinations = Array.from({ length: 9 }, (_, i) => destination(`http://${i}`, i > 6, 'x'.repeat(500)));
    s.ends.push(s.ends[0]); // the same, by another way in
    const { why } = health(s, null, null, [], 0);
    assert.deepEqual([why.length, why[0].text.slice(0, 30), why[0].text.length, why[5].text], [6, 'http://0 is down (7 of 9): xxx', 161, 'and 2 more']);
  },
  'an error share, with the reasons'() {
    assert.equal(judge(state(), null, minuteOf(900, 100, [7, 0, 20])), "Degraded: 10 % of the last minute's requests failed: the destinations' own 73, overload 20, timeout 7");
    assert.equal(judge(state(), null, minuteOf(900, 100, [0, 100, 0])), "Degraded: 10 % of the last minute's requests failed: upstream 100");
    assert.equal(judge(state(), null, minuteOf(1, 2)), 'OK: ');
  },
  'limits that were met'() {
    const [was, is] = [state(), state({ memory: { codecs: { used: 96, limit: 100, refused: 8 }, windows: { used: 96, limit: -1 } } })];
    is.ends[0].overloads = 3;
    is.ends[0].over_retry_percent = 1;
    assert.equal(judge(is, is), 'OK: ');
    assert.equal(judge(is, was), 'Degraded: --max-exchanges was met 3 times in the last minute: requests were answered 503; ' +
      '--retry-percent was met 1 time in the last minute: requests that failed were not repeated; --codec-memory was met 8 times in the last minute: new streams have a lighter codec');
  },
  'certificates'() {
    const now = Date.parse('2026-01-01T00:00:00Z');
    const s = state({ certificates: { a: '2026-01-01T05:00:00Z', b: '2025-12-31T00:00:00Z', c: '2026-02-01T00:00:00Z' } });
    assert.equal(judge(s, null, null, now), 'Degraded: the certificate of a ends in 5 h; the certificate of b has ended');
  },
  'a configuration that was refused'() {
    assert.equal(judge(state({ config_refused: true })), 'Degraded: the configuration that was read last was refused, the one before it runs');
  },
  'starting and draining'() {
    assert.equal(judge(state({ ready: false, why: 'starting' })), 'Starting: ');
    assert.equal(judge(state({ ready: false, why: 'draining', draining: true })), 'Draining: what runs finishes, nothing new is taken');
  },
});

let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  try {
    test();
  } catch (err) {
    failed++;
    console.error(`${name}: ${err.message}`);
  }
}
process.exit(failed > 0 ? 1 : 0);
