// The viewer of the service's own OpenAPI document.

import { send } from '../api.js';
import { $, h, perFrame } from '../dom.js';
import { askForKey } from '../key.js';
import { samples } from '../try/intake.js';
import { known } from './example.js';
import { METHODS, anchor, badge, operation } from './operation.js';

async function begin() {
  try {
    const [{ data }] = await Promise.all([send('openapi.json'), learn()]);
    show(data);
  } catch (error) {
    $('trouble').hidden = false;
    $('trouble').textContent = error.message;
    if (error.status === 401) addEventListener('key', () => location.reload(), { once: true });
  }
}

/** Learns what examples are made of. */
async function learn() {
  const [{ data }, [sample]] = await Promise.all([send('info'), samples(1)]);
  known.model = data.model;
  known.hasIndex = data.models.some(({ index_rows: rows }) => rows !== null);
  known.picture = btoa(String.fromCharCode(...new Uint8Array(await sample.file.arrayBuffer())));
}

function show(document) {
  const all = Object.entries(document.paths).flatMap(([path, item]) => METHODS.filter((method) => item[method]).map((method) => ({ path, method, of: item[method] })));
  // Those that do the work first; what tells of the service last.
  const works = all.filter(({ method }) => method !== 'get');
  const tells = all.filter(({ method }) => method === 'get');
  const { info } = document;
  $('title').append(
    h('h1', {}, info.title), h('p', { class: 'muted' }, info.description),
    h('p', { class: 'row muted' }, h('span', {}, `Version ${info.version}`), h('span', {}, `OpenAPI ${document.openapi}`),
      h('a', { href: 'openapi.json' }, 'openapi.json'), h('span', {}, `${all.length} operations`)));
  $('contents').append(...[['Embed and compare', works], ['The service', tells]].filter(([, some]) => some.length).flatMap(([title, some]) => [
    h('h3', {}, title), ...some.map(({ path, method }) => h('a', { href: `#${anchor(method, path)}` }, badge(method), path))]));
  $('operations').append(...[...works, ...tells].map(({ path, method, of }) => operation(document, path, method, of)));
  $('filter').addEventListener('input', filter);
  follow();
  if (location.hash) $(location.hash.slice(1))?.scrollIntoView();
}

/** Leaves those whose path or summary has the words. */
function filter() {
  const words = $('filter').value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const link of $('contents').querySelectorAll('a')) {
    const section = $(link.hash.slice(1));
    const text = section.querySelector('header').textContent.toLowerCase();
    link.hidden = section.hidden = !words.every((word) => text.includes(word));
  }
}

/** Marks in the list what is being read. */
function follow() {
  const links = new Map([...$('contents').querySelectorAll('a')].map((link) => [link.hash.slice(1), link]));
  const mark = perFrame(() => {
    const above = [...links.keys()].filter((id) => !$(id).hidden && $(id).getBoundingClientRect().top < innerHeight / 3);
    for (const [id, link] of links) {
      if (id === above.at(-1)) link.setAttribute('aria-current', 'location');
      else link.removeAttribute('aria-current');
    }
  });
  addEventListener('scroll', mark, { passive: true });
  mark();
}

$('key-button').addEventListener('click', () => askForKey());
begin();
