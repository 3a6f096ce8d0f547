// Zero-shot classification: which of some labels fits each picture, in a sentence around it.

import { $, h } from '../dom.js';
import { count, score } from '../format.js';
import { lines } from './matrix.js';
import { cosine, softmax } from './scores.js';
import { shown } from './show.js';
import { pictures } from './store.js';

const SHOWN = 3;

export class Labels {
  constructor(scores, vectors) {
    this.scores = scores;
    this.vectors = vectors;
  }

  async render(signal) {
    const all = pictures.embedded;
    const labels = lines($('label-list').value.replaceAll(',', '\n'));
    const template = $('template').value.trim() || '{}';
    const told = $('labels-told');
    told.classList.toggle('bad', !template.includes('{}'));
    if (!template.includes('{}')) {
      told.textContent = 'The sentence must have {} in it, where the label goes.';
      $('labelled').replaceChildren();
      return;
    }
    const texts = labels.map((label) => template.replaceAll('{}', label));
    const vectors = all.length && labels.length ? await this.vectors(texts, signal) : [];
    if (signal.aborted) return;
    if (!vectors.length) {
      $('labelled').replaceChildren();
      told.textContent = all.length ? 'Write labels to choose from.' : '';
      return;
    }
    const shares = document.querySelector('[name="activation"]:checked').value === 'softmax';
    const wins = new Map();
    $('labelled').replaceChildren(...all.map((picture) => {
      const logits = vectors.map((vector) => this.scores.logit(cosine(vector, picture.vector)));
      const values = shares ? softmax(logits) : logits.map((logit) => 1 / (1 + Math.exp(-logit)));
      const best = values.map((value, at) => ({ value, label: labels[at], logit: logits[at] }))
        .sort((a, b) => b.logit - a.logit).slice(0, SHOWN);
      wins.set(best[0].label, (wins.get(best[0].label) ?? 0) + 1);
      return card(picture, best);
    }));
    const most = [...wins].sort((a, b) => b[1] - a[1]).slice(0, 4).map(([label, times]) => `${label} ${times}`).join(', ');
    told.textContent = `${count(all.length, 'picture')} by ${count(labels.length, 'label')}, asked as “${texts[0]}” and so on. First choices: ${most}.`;
  }
}

function card(picture, best) {
  return h('li', {},
    h('div', { class: 'frame' }, shown(picture)),
    h('div', {},
      h('p', { class: 'name', title: picture.name }, picture.name),
      h('ol', { class: 'bars' }, best.map(({ label, value }) => h('li', { style: { '--part': value.toFixed(4) } },
        h('span', {}, label), h('span', { class: 'number' }, score(value)))))));
}
