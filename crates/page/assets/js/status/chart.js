// Lines over the last two minutes, in SVG.

import { h, svg } from '../dom.js';
import { SPAN } from './history.js';

const WIDTH = 600;
const HEIGHT = 140;

/**
 * A card with a chart. `lines`: [{ name, colour }]; `update(traces)` draws what History.trace
 * gave for each, and says the last values in words.
 */
export class Chart {
  constructor(title, lines, say) {
    this.say = say;
    this.lines = lines.map(({ name, colour }) => ({
      value: h('b', {}, '–'),
      name, colour,
      trace: svg('path', { class: 'trace', style: { '--key': colour } }),
      under: svg('path', { class: 'under', style: { '--key': colour } }),
    }));
    this.top = h('span', { class: 'top number' });
    this.picture = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': title },
      [0, 0.5, 1].map((part) => svg('line', { class: 'grid', x1: 0, x2: WIDTH, y1: HEIGHT * part, y2: HEIGHT * part })),
      this.lines.map(({ under, trace }) => [under, trace]));
    this.element = h('section', { class: 'card chart-card' },
      h('header', {}, h('h2', {}, title),
        h('div', { class: 'keys' }, this.lines.map(({ name, colour, value }) => h('span', {}, h('i', { style: { '--key': colour } }), `${name} `, value)))),
      h('div', { class: 'chart' }, this.picture, this.top,
        h('div', { class: 'since', 'aria-hidden': 'true' }, h('span', {}, '2 min ago'), h('span', {}, 'now'))));
  }

  update(traces) {
    const values = traces.flat().map(({ value }) => value).filter(Number.isFinite);
    const most = nice(Math.max(0, ...values));
    this.top.textContent = values.length ? this.say(most) : '';
    const told = this.lines.map((line, at) => {
      const points = traces[at];
      const last = points.at(-1)?.value;
      line.value.textContent = this.say(last);
      const path = pathOf(points, most);
      line.trace.setAttribute('d', path.line);
      line.under.setAttribute('d', path.area);
      return `${line.name} ${this.say(last)}`;
    });
    this.picture.setAttribute('aria-label', told.join(', '));
  }
}

/** The path through the points that have a value, and the area below it. */
function pathOf(points, most) {
  let line = '';
  let area = '';
  let run = [];
  const close = () => {
    if (!run.length) return;
    const steps = run.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L');
    line += run.length > 1 ? `M${steps}` : `M${steps}h.01`;
    area += `M${run[0][0].toFixed(1)} ${HEIGHT}L${steps}L${run.at(-1)[0].toFixed(1)} ${HEIGHT}Z`;
    run = [];
  };
  for (const { ago, value } of points) {
    if (Number.isFinite(value)) run.push([WIDTH * (1 - ago / SPAN), HEIGHT * (1 - value / most)]);
    else close();
  }
  close();
  return { line, area };
}

/** The next of 1, 2, 5, 10, 20, ... that is not below. */
function nice(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}
