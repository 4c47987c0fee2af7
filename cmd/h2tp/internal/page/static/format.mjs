// Numbers as a person reads them: three digits and a unit. What is not known is a dash.

export const none = '–';

const steps = ['', 'k', 'M', 'G', 'T', 'P'];

function digits(v) {
  const size = Math.abs(v);
  if (size === 0) return '0';
  if (size < 0.01) return '<0.01';
  const text = v.toFixed(size < 1 ? 2 : size < 10 ? 2 : size < 100 ? 1 : 0);
  return (text.includes('.') ? text.replace(/\.?0+$/, '') : text).replace('-', '−');
}

// scaled is v in the largest unit of which it has one.
function scaled(v, unit, from = 1000) {
  let i = 0;
  while (Math.abs(v) >= (i === 0 ? from : 999.5) && i < steps.length - 1) {
    v /= 1000;
    i++;
  }
  return `${digits(v)} ${steps[i]}${unit}`.trimEnd();
}

export const known = (v, write) => (v === null || v === undefined || !Number.isFinite(v) ? none : write(v));

// count has no unit; up to 9999 it is whole.
export const count = (v) => known(v, (n) => (Math.abs(n) < 10000 && Number.isInteger(n) ? String(n).replace('-', '−') : scaled(n, '', 10000)));
export const rate = (v) => known(v, (n) => `${scaled(n, '', 10000)}/s`);
export const bits = (v) => known(v, (n) => scaled(n, 'bit/s'));
export const bytes = (v) => known(v, (n) => scaled(n, 'B'));
export const percent = (v) => known(v, (n) => `${digits(100 * n)} %`);

// seconds is a time that something took.
export const seconds = (v) =>
  known(v, (s) => (s < 0.001 ? `${digits(s * 1e6)} µs` : s < 1 ? `${digits(s * 1e3)} ms` : `${digits(s)} s`));

// about is seconds of which two digits are known.
export const about = (v) => known(v, (s) => (s > 0 ? seconds(Number(s.toPrecision(2))) : seconds(s)));

// span is a long time, in its two largest units.
export function span(s) {
  const units = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  s = Math.max(0, Math.round(s));
  const i = Math.max(0, units.findIndex(([, n]) => s >= n));
  if (s === 0) return '0 s';
  const parts = [];
  for (const [unit, n] of units.slice(i, i + 2)) {
    const whole = Math.floor(s / n);
    s -= whole * n;
    if (whole > 0) parts.push(`${whole} ${unit}`);
  }
  return parts.join(' ');
}

const two = (n) => String(n).padStart(2, '0');

// clock is the time of day, here, of a time in milliseconds.
export function clock(ms) {
  const d = new Date(ms);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

export function day(ms) {
  const d = new Date(ms);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}`;
}
