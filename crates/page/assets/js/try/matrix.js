// Every sentence against every picture, as a heat map.

import { $, h, roving } from '../dom.js';
import { count, score } from '../format.js';
import { cosine } from './scores.js';
import { shown } from './show.js';
import { pictures } from './store.js';

const MOST_CELLS = 20_000;

export class Matrix {
  constructor(scores, vectors) {
    this.scores = scores;
    this.vectors = vectors;
    const table = $('matrix-table');
    this.enter = roving(table, 'td');
    for (const kind of ['focusin', 'pointerover']) table.addEventListener(kind, (event) => this.tell(event.target.closest('td')));
  }

  async render(signal) {
    const all = pictures.embedded;
    const texts = lines($('sentences').value).slice(0, Math.max(1, Math.floor(MOST_CELLS / Math.max(1, all.length))));
    const vectors = all.length && texts.length ? await this.vectors(texts, signal) : [];
    if (signal.aborted) return;
    if (!vectors.length) {
      $('matrix-table').replaceChildren();
      $('matrix-legend').replaceChildren();
      $('matrix-told').textContent = all.length ? 'Write sentences to compare with the pictures.' : '';
      return;
    }
    const byCosine = document.querySelector('[name="measure"]:checked').value === 'cosine';
    this.rows = vectors.map((vector) => all.map((picture) => {
      const fit = cosine(vector, picture.vector);
      return { fit, probability: this.scores.probability(fit) };
    }));
    this.texts = texts;
    this.columns = all;
    const cosines = this.rows.flat().map(({ fit }) => fit);
    const [least, most] = cosines.reduce(([low, high], fit) => [Math.min(low, fit), Math.max(high, fit)], [Infinity, -Infinity]);
    // Probabilities of right pairs are often small: the square root shows them apart.
    const heat = ({ fit, probability }) => (byCosine ? (fit - least) / (most - least || 1) : Math.sqrt(probability));
    $('matrix-table').replaceChildren(this.table(heat, byCosine));
    this.enter();
    $('matrix-legend').replaceChildren(
      byCosine ? least.toFixed(2) : '0', ramp(byCosine), byCosine ? most.toFixed(2) : '1',
      h('span', { class: 'box' }), 'best picture of a sentence');
    $('matrix-told').textContent = `${count(texts.length, 'sentence')} by ${count(all.length, 'picture')}. Point at a cell, or go through them with the arrow keys.`;
  }

  table(heat, byCosine) {
    const head = h('tr', {}, h('th', { scope: 'col' }, h('span', { class: 'visually-hidden' }, 'Sentence')),
      this.columns.map((picture) => h('th', { scope: 'col', title: picture.name }, shown(picture), h('span', { class: 'visually-hidden' }, picture.name))));
    const strong = Number(getComputedStyle(document.documentElement).getPropertyValue('--heat-strong'));
    const body = this.rows.map((row, at) => {
      const top = row.reduce((best, cell, column) => (cell.fit > row[best].fit ? column : best), 0);
      return h('tr', {}, h('th', { scope: 'row' }, this.texts[at]), row.map((cell, column) => {
        const part = heat(cell);
        return h('td', {
          tabindex: '-1', class: [part >= strong && 'strong', column === top && 'top'].filter(Boolean).join(' '),
          style: { '--heat-part': part.toFixed(3) }, dataset: { at, column },
        }, brief(byCosine ? cell.fit : cell.probability));
      }));
    });
    return h('table', { class: 'heat' }, h('thead', {}, head), h('tbody', {}, body));
  }

  tell(cell) {
    if (!cell?.dataset.at) return;
    const { at, column } = cell.dataset;
    const { fit, probability } = this.rows[at][column];
    $('matrix-told').textContent = `“${this.texts[at]}” and ${this.columns[column].name}: probability ${score(probability)}, cosine ${fit.toFixed(4)}, logit ${this.scores.logit(fit).toFixed(2)}`;
  }
}

/** Two digits: .43, -.05, 0 where there is next to nothing. */
function brief(value) {
  const text = value.toFixed(2);
  if (text === '0.00' || text === '-0.00') return '0';
  return text === '1.00' ? '1' : text.replace('0.', '.');
}

function ramp(linear) {
  const steps = Array.from({ length: 9 }, (_, at) => at / 8);
  return h('span', { class: 'ramp' }, steps.map((step) => h('i', { style: { '--heat-part': linear ? step : Math.sqrt(step) } })));
}

/** The lines of a field that hold something, each once. */
export function lines(text) {
  return [...new Set(text.split('\n').map((line) => line.trim()).filter(Boolean))];
}
