// All pictures, the one that fits a sentence best first.

import { $, h } from '../dom.js';
import { count, score } from '../format.js';
import { cosine } from './scores.js';
import { shown } from './show.js';
import { pictures } from './store.js';

export class Rank {
  constructor(scores, vectors) {
    this.scores = scores;
    this.vectors = vectors;
    this.cards = new Map();
  }

  async render(signal) {
    const query = $('query').value.trim();
    const all = pictures.embedded;
    const vector = query && all.length ? (await this.vectors([query], signal))[0] : null;
    if (signal.aborted) return;
    const ranked = all.map((picture) => {
      const fit = vector && cosine(vector, picture.vector);
      return { picture, fit, probability: vector && this.scores.probability(fit) };
    });
    if (vector) ranked.sort((a, b) => b.fit - a.fit);
    $('ranked').replaceChildren(...ranked.map((entry, at) => this.card(entry, at)));
    for (const id of this.cards.keys()) if (!pictures.all.some((picture) => picture.id === id)) this.cards.delete(id);
    $('rank-told').textContent = told(query, ranked);
  }

  /** The card of a picture is made once, and then only moved and relabelled. */
  card({ picture, fit, probability }, at) {
    let card = this.cards.get(picture.id);
    if (!card) {
      card = {
        place: h('span', { class: 'place' }), value: h('span', { class: 'number' }), bar: h('div', {}),
      };
      card.item = h('li', {},
        h('div', { class: 'frame' }, shown(picture), card.place),
        h('div', { class: 'line' }, h('span', { title: picture.name }, picture.name), card.value),
        h('div', { class: 'meter' }, card.bar));
      this.cards.set(picture.id, card);
    }
    const ranks = probability !== null && fit !== null && fit !== '';
    card.place.hidden = !ranks;
    card.place.textContent = at + 1;
    card.value.textContent = ranks ? score(probability) : '';
    card.value.title = ranks ? `probability ${probability.toPrecision(4)}, cosine ${fit.toFixed(4)}` : '';
    card.bar.style.setProperty('--part', ranks ? probability : 0);
    card.item.classList.toggle('best', ranks && at === 0);
    return card.item;
  }
}

function told(query, ranked) {
  if (!ranked.length) return '';
  if (!query) return `${count(ranked.length, 'picture')}. Write a sentence to rank them.`;
  const [{ picture, probability }] = ranked;
  const hint = probability < 0.01 ? ' That is low: nothing here fits well.' : '';
  return `${count(ranked.length, 'picture')} ranked. Best: ${picture.name}, ${score(probability)}.${hint}`;
}
