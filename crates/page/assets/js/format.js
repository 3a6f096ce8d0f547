// Numbers for people.

/** 0.42913 as 0.429; what is smaller than it can show as <0.001. */
export function score(value) {
  if (value > 0 && value < 0.0005) return '<0.001';
  return value.toFixed(3);
}

/** Milliseconds with three digits. */
export function millis(value) {
  if (!Number.isFinite(value)) return '–';
  if (value >= 60_000) return `${(value / 60_000).toFixed(1)} min`;
  if (value >= 1000) return `${(value / 1000).toFixed(value >= 10_000 ? 1 : 2)} s`;
  return `${value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)} ms`;
}

/** Bytes in binary units. */
export function bytes(value) {
  if (!Number.isFinite(value)) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) { value /= 1024; at += 1; }
  return `${at === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${units[at]}`;
}

/** A rate or a count with about three digits. */
export function amount(value) {
  if (!Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  if (value >= 10_000) return `${(value / 1000).toFixed(1)}k`;
  if (value >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString('en');
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** A share as percent. */
export const percent = (value) => (Number.isFinite(value) ? `${(value * 100).toFixed(value > 0 && value < 0.1 ? 1 : 0)}%` : '–');

/** "1 picture", "2 pictures". */
export const count = (number, one, many = `${one}s`) => `${number.toLocaleString('en')} ${number === 1 ? one : many}`;
