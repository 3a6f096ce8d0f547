// The service's state, read from /metrics each second while somebody looks.

import { send } from '../api.js';
import { h } from '../dom.js';
import { amount, millis, percent } from '../format.js';
import { Chart } from './chart.js';
import { History } from './history.js';
import { valuesOf, parse } from './openmetrics.js';
import { batches, caches, endpoints, memory, stages, troubles } from './tables.js';

const EVERY = 1000;
const WHILE_AWAY = 3000;
/** Rates in the charts are over so many seconds, the numbers beside them over so many. */
const SMOOTH = 5;
const RECENT = 30;

/** The endpoints that ask something of the model: those that are posted to. What is asked about the
 * service, each second by this page itself, is left out of rates and latencies. */
const posted = new Set();
const work = (endpoint) => posted.has(endpoint);

async function learn() {
  const { data } = await send('openapi.json', { quiet: true });
  for (const { post } of Object.values(data.paths)) if (post) posted.add(post.operationId);
}

const ofWork = { endpoint: work };
const withStatus = (digit) => ({ ...ofWork, status: (status) => status[0] === digit });
const seconds = (value) => millis(value * 1000);

class Status {
  history = new History();
  timer = null;
  wanted = false;

  constructor() {
    document.addEventListener('visibilitychange', () => (this.wanted && !document.hidden ? this.run() : this.pause()));
  }

  start(element) {
    if (!this.element) this.build(element);
    this.wanted = true;
    if (!document.hidden) this.run();
  }

  stop() {
    this.wanted = false;
    this.pause();
  }

  pause() {
    clearTimeout(this.timer);
    this.timer = null;
    if (this.element) this.live.textContent = 'Paused';
  }

  async run() {
    clearTimeout(this.timer);
    let wait = EVERY;
    try {
      if (!posted.size) await learn();
      const { data } = await send('metrics', { quiet: this.history.last !== undefined });
      this.history.add(performance.now() / 1000, parse(data));
      this.draw();
      this.live.textContent = 'Live, each second';
      this.trouble.hidden = true;
    } catch (error) {
      wait = WHILE_AWAY;
      this.live.textContent = 'No answer';
      this.trouble.hidden = false;
      this.trouble.textContent = error.message;
    }
    if (this.wanted && !document.hidden) this.timer = setTimeout(() => this.run(), wait);
  }

  build(element) {
    this.element = element;
    this.live = h('span', { class: 'small muted' });
    this.trouble = h('p', { class: 'notice bad', role: 'alert', hidden: true });
    this.tiles = h('dl', { class: 'tiles' });
    this.charts = [
      [new Chart('Requests per second', [{ name: 'answered', colour: 'var(--c1)' }, { name: '4xx', colour: 'var(--c2)' }, { name: '5xx', colour: 'var(--c5)' }], amount),
        [(window) => window.rate('siglip2_requests_total', withStatus('2')), (window) => window.rate('siglip2_requests_total', withStatus('4')), (window) => window.rate('siglip2_requests_total', withStatus('5'))]],
      [new Chart('Latency', [{ name: 'p50', colour: 'var(--c1)' }, { name: 'p95', colour: 'var(--c4)' }], seconds),
        [0.5, 0.95].map((share) => (window) => window.quantile(share, 'siglip2_request_seconds', ofWork))],
      [new Chart('Rows embedded per second', [{ name: 'images', colour: 'var(--c1)' }, { name: 'texts', colour: 'var(--c2)' }], amount),
        ['image', 'text'].map((tower) => (window) => window.rate('siglip2_batch_rows_sum', { tower }))],
      [new Chart('Waiting', [{ name: 'images', colour: 'var(--c1)' }, { name: 'texts', colour: 'var(--c2)' }, { name: 'requests under way', colour: 'var(--c6)' }], amount),
        [(window) => window.now('siglip2_queue_rows', { tower: 'image' }), (window) => window.now('siglip2_queue_rows', { tower: 'text' }), (window) => window.now('siglip2_requests_in_flight')]],
    ];
    this.boards = h('div', { class: 'boards' });
    element.replaceChildren(
      h('header', {}, h('h1', {}, 'Status'), this.live), this.trouble, this.tiles,
      h('div', { class: 'boards' }, this.charts.map(([chart]) => chart.element)), h('div', { class: 'gap' }), this.boards);
  }

  draw() {
    const recent = this.history.window(RECENT);
    this.tiles.replaceChildren(...tiles(recent));
    for (const [chart, values] of this.charts) chart.update(values.map((value) => this.history.trace(SMOOTH, value)));
    const focused = this.boards.contains(document.activeElement);
    if (!focused) this.boards.replaceChildren(endpoints(recent), stages(recent), batches(this.history.window(60)), memory(recent), caches(recent), troubles(recent));
  }
}

function tiles(window) {
  const engines = valuesOf(window.to, 'siglip2_engine_busy_seconds_total', 'engine').length || 1;
  const errors = window.grew('siglip2_requests_total', { ...ofWork, status: (status) => ['4', '5'].includes(status[0]) });
  const looked = ['siglip2_text_cache_total', 'siglip2_image_cache_total'];
  const grew = (labels) => looked.reduce((all, name) => all + window.grew(name, labels), 0);
  const up = window.now('siglip2_engine_up') === 1;
  return [
    tile('Engine', up ? 'up' : 'down', `busy ${percent(window.rate('siglip2_engine_busy_seconds_total') / engines)}`, !up),
    tile('Requests', amount(window.rate('siglip2_requests_total', ofWork)), 'per second'),
    tile('p50', seconds(window.quantile(0.5, 'siglip2_request_seconds', ofWork)), ''),
    tile('p95', seconds(window.quantile(0.95, 'siglip2_request_seconds', ofWork)), ''),
    tile('Rows waiting', amount(window.now('siglip2_queue_rows')), ''),
    tile('Cache hits', percent(grew({ result: 'hit' }) / grew({})), ''),
    tile('Errors', amount(errors), 'in 30 s', errors > 0),
  ];
}

function tile(name, value, unit, bad = false) {
  return h('div', { class: `card tile${bad ? ' bad' : ''}` }, h('dt', {}, name), h('dd', {}, value, ' ', h('small', {}, unit)));
}

export const status = new Status();
