// Rows of the service's index, the nearest to a sentence or a picture first.

import { send } from '../api.js';
import { $, h } from '../dom.js';
import { count, millis, score } from '../format.js';
import { expecting } from './embed.js';
import { shown } from './show.js';
import { Picture } from './store.js';

const TOP = 20;
const LONGEST_VALUE = 300;

/** The view of the index; without one its tab is gone. */
export class Stored {
  constructor(info) {
    this.index = info.index;
    if (!this.index) {
      $('tab-stored').remove();
      return;
    }
    $('tab-stored').hidden = false;
    this.headers = expecting(this.index);
    this.columns = this.index.columns.length > 0;
    this.searching = new AbortController();
    $('stored-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.bySentence($('stored-query').value.trim());
    });
    $('stored-pick').addEventListener('click', () => $('stored-file').click());
    $('stored-file').addEventListener('change', ({ target }) => {
      if (target.files.length) this.byPicture(new Picture(target.files[0]));
      target.value = '';
    });
    this.tell(`${count(this.index.rows, 'row')} made by ${this.index.model ?? 'an unknown model'}.`);
  }

  render() { /* What was found stays until the next search. */ }

  bySentence(query) {
    if (!query) return;
    const headers = { ...this.headers, 'content-type': 'application/json' };
    const body = JSON.stringify({ query, top: TOP, ...(this.columns && { columns: ['*'] }) });
    this.search({ headers, body, what: `“${query}”` }, null);
  }

  byPicture(picture) {
    const body = new FormData();
    body.append('top', TOP);
    if (this.columns) body.append('columns', '*');
    body.append('file', picture.file, picture.name);
    this.search({ headers: this.headers, body, what: picture.name }, picture);
  }

  /** The service stops a search whose request was given up. */
  async search({ headers, body, what }, picture) {
    this.searching.abort();
    this.searching = new AbortController();
    const { signal } = this.searching;
    if (this.shown) URL.revokeObjectURL(this.shown.url);
    this.shown = picture;
    $('stored-picture').hidden = !picture;
    $('stored-picture').replaceChildren(...(picture ? [h('div', { class: 'frame' }, shown(picture))] : []));
    this.tell('Searching …');
    try {
      const { data, stages } = await send('search', { body, headers, signal, what });
      const took = stages.find(({ name }) => name === 'search')?.millis;
      $('stored-rows').replaceChildren(...data.results.map(row));
      this.tell(`${count(data.rows, 'row')} searched in ${millis(took)}. Nearest to ${what}:`);
    } catch (error) {
      if (signal.aborted) return;
      $('stored-rows').replaceChildren();
      this.tell(error.message, true);
    }
  }

  tell(text, isBad = false) {
    $('stored-told').classList.toggle('bad', isBad);
    $('stored-told').textContent = text;
  }
}

function row({ id, cosine, score: probability, columns = {} }, at) {
  const told = Object.entries(columns).filter(([, value]) => value !== null && value !== '');
  const short = (value) => {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    return text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)} …` : text;
  };
  return h('li', {},
    h('span', { class: 'place' }, at + 1),
    h('span', { class: 'name' }, id),
    h('span', { class: 'number', title: `probability ${score(probability)}` }, cosine.toFixed(4)),
    told.length > 0 && h('dl', {}, told.map(([name, value]) => [h('dt', {}, name), h('dd', {}, short(value))])));
}
