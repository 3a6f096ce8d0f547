// The numbers beside the charts: endpoints, stages, sizes of batches, memory, what went wrong.

import { h } from '../dom.js';
import { amount, bytes, millis, percent } from '../format.js';
import { valuesOf } from './openmetrics.js';

const seconds = (value) => millis(value * 1000);

function table(title, note, head, rows) {
  return h('section', { class: 'card' },
    h('header', {}, h('h2', {}, title), h('span', { class: 'small muted' }, note)),
    h('div', { class: 'wide' }, h('table', { class: 'rows' },
      h('thead', {}, h('tr', {}, head.map((name) => h('th', { scope: 'col' }, name)))),
      h('tbody', {}, rows))));
}

/** Each endpoint that was ever asked, the busiest first. */
export function endpoints(window) {
  const name = 'siglip2_requests_total';
  const all = valuesOf(window.to, name, 'endpoint').map((endpoint) => ({
    endpoint, total: window.now(name, { endpoint }), rate: window.rate(name, { endpoint }),
    refused: window.now(name, { endpoint, status: (status) => status[0] === '4' }),
    failed: window.now(name, { endpoint, status: (status) => status[0] === '5' }),
  })).filter(({ total }) => total > 0).sort((a, b) => b.rate - a.rate || b.total - a.total);
  return table('Endpoints', 'last 30 s; totals since the start', ['endpoint', 'per second', 'p50', 'p95', 'total', '4xx', '5xx'], all.map((row) => {
    const quantile = (share) => seconds(window.quantile(share, 'siglip2_request_seconds', { endpoint: row.endpoint }));
    return h('tr', { class: row.rate ? '' : 'idle' },
      h('td', {}, row.endpoint), h('td', {}, amount(row.rate)), h('td', {}, quantile(0.5)), h('td', {}, quantile(0.95)),
      h('td', {}, amount(row.total)), h('td', {}, amount(row.refused)), h('td', { class: row.failed ? 'bad' : '' }, amount(row.failed)));
  }));
}

const STAGES = ['receive', 'decode', 'prepare', 'queue', 'compute', 'search', 'write'];

/** What each stage took. */
export function stages(window) {
  const name = 'siglip2_stage_seconds';
  return table('Stages', 'last 30 s', ['stage', 'per second', 'p50', 'p95', 'p99'], STAGES.map((stage) => {
    const rate = window.rate(`${name}_count`, { stage });
    return h('tr', { class: rate ? '' : 'idle' }, h('td', {}, stage), h('td', {}, amount(rate)),
      [0.5, 0.95, 0.99].map((share) => h('td', {}, seconds(window.quantile(share, name, { stage })))));
  }));
}

/** How many rows the batches had. */
export function batches(window) {
  const towers = [['image', 'Images', 'var(--c1)'], ['text', 'Texts', 'var(--c2)']];
  return h('section', { class: 'card' },
    h('header', {}, h('h2', {}, 'Batch sizes'), h('span', { class: 'small muted' }, 'last 60 s')),
    h('div', { class: 'pair' }, towers.map(([tower, title, colour]) => {
      const observed = window.observed('siglip2_batch_rows', { tower });
      const most = Math.max(1, ...observed.map(({ count }) => count));
      const mean = window.grew('siglip2_batch_rows_sum', { tower }) / window.grew('siglip2_batch_rows_count', { tower });
      // From the first bucket to the last that anything fell into, at least five.
      const last = Math.max(4, observed.findLastIndex(({ count }) => count > 0));
      return h('div', {},
        h('div', { class: 'keys' }, h('span', {}, h('i', { style: { '--key': colour } }), `${title}, mean `, h('b', {}, amount(mean)))),
        h('ol', { class: 'columns', 'aria-label': `${title}: batches by their rows` }, observed.slice(0, last + 1).map(({ le, count }) => h('li', { title: `up to ${le} rows: ${count} batches` },
          h('div', { style: { '--part': count / most, '--key': colour } }), `≤${le === Infinity ? '∞' : le}`))));
    })));
}

/** What requests hold of the memory that they may. */
export function memory(window) {
  const uses = valuesOf(window.to, 'siglip2_memory_limit_bytes', 'use').sort();
  return h('section', { class: 'card' },
    h('header', {}, h('h2', {}, 'Memory of requests'), h('span', { class: 'small muted' }, 'held now, of the limit')),
    h('div', { class: 'gauges' }, uses.map((use) => {
      const held = window.now('siglip2_memory_bytes', { use });
      const limit = window.now('siglip2_memory_limit_bytes', { use });
      const refusals = window.now('siglip2_memory_refusals_total', { use });
      return h('div', {},
        h('div', { class: 'line' }, h('span', {}, use, refusals ? h('span', { class: 'muted' }, ` · ${amount(refusals)} refused`) : ''),
          h('span', { class: 'number' }, `${bytes(held)} of ${bytes(limit)}`)),
        h('div', { class: 'meter' }, h('div', { style: { '--part': limit ? held / limit : 0 } })));
    })));
}

const TROUBLES = [
  ['Rows dropped: their clients had gone', 'siglip2_dropped_rows_total'],
  ['Rows expired: their deadline passed', 'siglip2_expired_rows_total'],
  ['Batches that the engine failed', 'siglip2_failed_batches_total'],
  ['Engines built anew', 'siglip2_engine_rebuilds_total'],
  ['Requests refused for memory', 'siglip2_memory_refusals_total'],
  ['Texts cut: too many tokens', 'siglip2_cut_texts_total'],
  ['Lines missing in the log', 'siglip2_dropped_log_lines_total'],
];

/** What should not happen often. */
export function troubles(window) {
  return table('Losses', 'since the start', ['what', 'total', 'last 30 s'], TROUBLES.map(([title, name]) => {
    const grew = window.grew(name);
    return h('tr', { class: grew ? '' : 'idle' }, h('td', {}, title), h('td', {}, amount(window.now(name))), h('td', { class: grew ? 'bad' : '' }, amount(grew)));
  }));
}

/** How many rows the caches had. */
export function caches(window) {
  return table('Caches', 'last 30 s; shares since the start', ['cache of', 'hits/s', 'shared/s', 'misses/s', 'hits'], [['texts', 'siglip2_text_cache_total'], ['images', 'siglip2_image_cache_total']].map(([title, name]) => {
    const rates = ['hit', 'shared', 'miss'].map((result) => window.rate(name, { result }));
    const share = window.now(name, { result: 'hit' }) / window.now(name);
    return h('tr', { class: rates.some(Boolean) ? '' : 'idle' }, h('td', {}, title), rates.map((rate) => h('td', {}, amount(rate))), h('td', {}, percent(share)));
  }));
}
