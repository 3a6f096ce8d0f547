// What /metrics said over the last minutes, and what changed between two times: rates, and
// quantiles of what was observed meanwhile.

import { buckets, sum } from './openmetrics.js';

/** So long the charts reach back, in seconds. */
export const SPAN = 120;

export class History {
  /** Readings, oldest first: { at: seconds, series }. */
  readings = [];

  add(at, series) {
    const last = this.readings.at(-1);
    // A service that was started again counts from 0.
    const restarted = last && sum(series, 'siglip2_requests_total') < sum(last.series, 'siglip2_requests_total');
    if (restarted) this.readings = [];
    this.readings.push({ at, series });
    while (this.readings.length && this.readings[0].at < at - SPAN - 60) this.readings.shift();
  }

  get last() { return this.readings.at(-1); }

  /** What lies between the last reading, or that with this index, and the one `seconds` before. */
  window(seconds, to = this.readings.length - 1) {
    const end = this.readings[to];
    let from = to;
    while (from > 0 && end.at - this.readings[from - 1].at <= seconds + 0.5) from -= 1;
    return new Window(this.readings[from], end);
  }

  /** `value(window)` at each reading of the charts' span: [{ ago, value }]. */
  trace(seconds, value) {
    const now = this.last?.at;
    return this.readings
      .map((reading, at) => ({ ago: now - reading.at, at }))
      .filter(({ ago, at }) => ago <= SPAN && at > 0)
      .map(({ ago, at }) => ({ ago, value: value(this.window(seconds, at)) }));
  }
}

/** Two readings, and what happened between them. */
export class Window {
  constructor(from, to) {
    this.from = from.series;
    this.to = to.series;
    this.seconds = to.at - from.at;
  }

  /** A gauge at the end. */
  now(name, labels) { return sum(this.to, name, labels); }

  /** How much a counter grew. */
  grew(name, labels) { return sum(this.to, name, labels) - sum(this.from, name, labels); }

  /** How much it grew in a second. */
  rate(name, labels) { return this.seconds ? this.grew(name, labels) / this.seconds : NaN; }

  /** What a histogram observed meanwhile, bucket by bucket: [{ le, count }], not cumulative. */
  observed(name, labels) {
    const before = new Map(buckets(this.from, name, labels).map(({ le, count }) => [le, count]));
    let below = 0;
    return buckets(this.to, name, labels).map(({ le, count }) => {
      const grown = count - (before.get(le) ?? 0);
      const own = grown - below;
      below = grown;
      return { le, count: own };
    });
  }

  /** The value below which this share of them lay, interpolated within its bucket; NaN of none. */
  quantile(share, name, labels) {
    const observed = this.observed(name, labels);
    const all = observed.reduce((total, { count }) => total + count, 0);
    if (!all) return NaN;
    let passed = 0;
    let low = 0;
    for (const { le, count } of observed) {
      if (count && passed + count >= share * all) {
        // Beyond the last bound nothing more is known.
        return le === Infinity ? low : low + (le - low) * ((share * all - passed) / count);
      }
      passed += count;
      low = le;
    }
    return low;
  }
}
