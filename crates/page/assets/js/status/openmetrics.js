// Reads the text of /metrics: OpenMetrics, in which Prometheus' own format is contained.

const LINE = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \S+)?(?: #.*)?$/;
const LABEL = /([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES = { '\\n': '\n', '\\"': '"', '\\\\': '\\' };

/** Samples by the name of their series: Map of name to [{ labels, value }]. */
export function parse(text) {
  const series = new Map();
  for (const line of text.split('\n')) {
    if (!line || line.startsWith('#')) continue;
    const read = LINE.exec(line);
    if (!read) continue;
    const [, name, labels, number] = read;
    const sample = { labels: {}, value: value(number) };
    for (const [, key, quoted] of (labels ?? '').matchAll(LABEL)) {
      sample.labels[key] = quoted.replace(/\\[n"\\]/g, (escape) => ESCAPES[escape]);
    }
    if (!series.has(name)) series.set(name, []);
    series.get(name).push(sample);
  }
  return series;
}

function value(number) {
  return { '+Inf': Infinity, '-Inf': -Infinity }[number] ?? Number(number);
}

/** Whether a sample has all of these labels. */
function fits(sample, labels) {
  return Object.entries(labels).every(([key, is]) => (typeof is === 'function' ? is(sample.labels[key]) : sample.labels[key] === is));
}

/** The sum of a series' samples with these labels; a label may be asked for by a function. */
export function sum(series, name, labels = {}) {
  return (series.get(name) ?? []).filter((sample) => fits(sample, labels)).reduce((all, sample) => all + sample.value, 0);
}

/** A histogram's buckets with these labels, summed: [{ le, count }] with rising bounds, counts cumulative. */
export function buckets(series, name, labels = {}) {
  const counts = new Map();
  for (const sample of series.get(`${name}_bucket`) ?? []) {
    if (!fits(sample, labels)) continue;
    const le = value(sample.labels.le);
    counts.set(le, (counts.get(le) ?? 0) + sample.value);
  }
  return [...counts].map(([le, count]) => ({ le, count })).sort((a, b) => a.le - b.le);
}

/** The values that a label has in a series, in their order. */
export function valuesOf(series, name, label) {
  return [...new Set((series.get(name) ?? []).map((sample) => sample.labels[label]))];
}
