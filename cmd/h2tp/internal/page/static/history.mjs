// What the server sampled each second, and rates made of it. Counts only grow while a process lives; where they do not, or
// where samples are missing, there is nothing to tell, and never a rate.

export const kept = 600_000; // ms
const longest = 10_000; // ms between two samples that belong together: a machine with too much to do takes them late

// Indices in a sample's results.
export const result = { '1xx': 0, '2xx': 1, '3xx': 2, '4xx': 3, '5xx': 4, gone: 5, refused: 6 };

// between is what happened from sample a to b, or null.
export function between(a, b) {
  if (!a || !b || a.run !== b.run || b.at <= a.at) return null;
  const results = b.results.map((n, i) => n - a.results[i]);
  const took = b.took.map((n, i) => n - (a.took[i] ?? 0));
  const failures = b.failures.map((n, i) => n - (a.failures[i] ?? 0));
  const d = { seconds: (b.at - a.at) / 1000, results, failures, took, plain: b.plain_bytes - a.plain_bytes, hop: b.hop_bytes - a.hop_bytes };
  const isBack = d.plain < 0 || d.hop < 0 || results.some((n) => n < 0) || took.some((n) => n < 0);
  return isBack ? null : d;
}

// ended is how many exchanges are over that somebody waited for.
export const ended = (d) => d.results.slice(0, 5).reduce((a, b) => a + b, 0);

// quantile estimates the value below which a share q of a histogram's lies; null when it is empty.
export function quantile(q, bounds, counts) {
  const all = counts.reduce((a, b) => a + b, 0);
  if (all <= 0) return null;
  let rank = q * all;
  for (let i = 0; i < counts.length; i++) {
    if (rank > counts[i] || counts[i] === 0) {
      rank -= counts[i];
      continue;
    }
    if (i >= bounds.length) break;
    const low = i === 0 ? bounds[0] / 2 : bounds[i - 1];
    return low * (bounds[i] / low) ** (rank / counts[i]);
  }
  return bounds[bounds.length - 1]; // and more
}

export class History {
  samples = [];
  bounds = [];
  failures = []; // names

  // add takes what an answer of /status has.
  add(run, history) {
    this.bounds = history.bounds ?? [];
    this.failures = history.failures ?? [];
    for (const s of history.samples) {
      while (this.samples.length > 0 && this.last().run !== run && this.last().at >= s.at) this.samples.pop(); // the clock was set back
      if (this.samples.length === 0 || this.last().at < s.at) this.samples.push({ ...s, run });
    }
    const from = (this.last()?.at ?? 0) - kept;
    const n = this.samples.findIndex((s) => s.at >= from);
    if (n > 0) this.samples.splice(0, n);
  }

  last() {
    return this.samples[this.samples.length - 1];
  }

  // isJoined reports whether sample i follows the one before it without a gap.
  isJoined(i) {
    const [a, b] = [this.samples[i - 1], this.samples[i]];
    return i > 0 && a.run === b.run && b.at - a.at <= longest;
  }

  // over is what happened in the ms up to sample i, or since the one before; or in as much of it as is known without a gap.
  over(ms, i = this.samples.length - 1) {
    let from = i;
    while (from > 0 && this.isJoined(from) && (from === i || this.samples[i].at - this.samples[from - 1].at <= ms + 250)) from--;
    return between(this.samples[from], this.samples[i]);
  }

  // columns makes columns of what each function tells of a sample (its index, and what happened since the one before it, or
  // null), the first column being times in seconds; gaps have a row of nulls.
  columns(...tell) {
    const rows = [];
    for (let i = 0; i < this.samples.length; i++) {
      const isJoined = this.isJoined(i);
      if (i > 0 && !isJoined) rows.push([this.samples[i - 1].at / 1000 + 0.001, ...tell.map(() => null)]);
      const d = isJoined ? between(this.samples[i - 1], this.samples[i]) : null;
      rows.push([this.samples[i].at / 1000, ...tell.map((f) => f(i, d))]);
    }
    return [0, ...tell].map((_, column) => rows.map((row) => row[column]));
  }
}
