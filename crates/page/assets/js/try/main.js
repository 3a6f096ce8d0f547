// The page where pictures and sentences are tried: what comes in, what is asked, which view
// shows it.

import { $, h, perFrame, roving, settled, tabs } from '../dom.js';
import { amount, count } from '../format.js';
import { showModel } from './about.js';
import { Embedder, vectorsOf } from './embed.js';
import { samples, takeIn } from './intake.js';
import { Labels } from './labels.js';
import { Matrix } from './matrix.js';
import { Rank } from './rank.js';
import { showRequests } from './requests.js';
import { Scores } from './scores.js';
import { shown } from './show.js';
import { Stored } from './stored.js';
import { MOST_PICTURES, Picture, pictures } from './store.js';

const DEMO_LABELS = 'red\ngreen\nblue\nyellow\norange\npurple\nblack\nwhite';
const DEMO_TEMPLATE = 'a {} shape';
const SUGGESTED = 5;

showRequests();

/** Begins, now that the service said what it is. */
export function startTrying(info) {
  const scores = new Scores(info);
  const vectors = (texts, signal) => vectorsOf(texts, { info, signal });
  const views = { rank: new Rank(scores, vectors), matrix: new Matrix(scores, vectors), labels: new Labels(scores, vectors), stored: new Stored(info) };
  const embedder = new Embedder(info);
  let view = 'rank';
  let writesNext = false;
  let rendering = new AbortController();
  showModel(info);

  const render = perFrame(async () => {
    rendering.abort();
    rendering = new AbortController();
    const { signal } = rendering;
    const told = $(`${view}-told`);
    // The index has its own pictures.
    const empty = pictures.all.length === 0 && view !== 'stored';
    $('empty').hidden = !empty;
    $(view).hidden = empty;
    if (empty) return;
    if (writesNext) $('query').focus({ preventScroll: true });
    writesNext = false;
    try {
      told.classList.remove('bad');
      await views[view].render(signal);
    } catch (error) {
      if (signal.aborted) return;
      told.classList.add('bad');
      told.textContent = error.message;
    }
  });
  const renderSoon = settled(render, 200);

  addEventListener('theme', render);

  tabs(document.querySelector('.tabs'), (panel) => { view = panel; render(); });
  for (const id of ['query', 'sentences', 'label-list', 'template']) $(id).addEventListener('input', renderSoon);
  for (const choice of document.querySelectorAll('[name="measure"], [name="activation"]')) choice.addEventListener('change', render);
  $('rank-form').addEventListener('submit', (event) => { event.preventDefault(); render(); });

  const add = (bunch) => {
    const left = pictures.add(bunch);
    if (left) embedder.note = `The page holds ${MOST_PICTURES} pictures; ${left} were left out.`;
    embedder.run();
  };
  takeIn((bunch, isDropped) => {
    if (view === 'stored' && isDropped) views.stored.byPicture(bunch[0]);
    else add(bunch);
  });
  const addSamples = async () => {
    let drawn;
    try {
      drawn = await samples();
    } catch (error) {
      $('trouble').textContent = error.message;
      return;
    } finally {
      $('trouble').hidden = drawn !== undefined;
    }
    if (info.model === 'demo' && !$('query').value) prefill(drawn);
    add(drawn.map(({ file, caption }) => new Picture(file, caption)));
    // The field is there once there are pictures.
    writesNext = true;
    render();
  };
  for (const id of ['samples', 'samples-too']) $(id).addEventListener('click', addSamples);
  if (info.model === 'demo') {
    $('empty-text').textContent = 'The demo model knows drawings of coloured shapes, and no photos. Load some, then describe one of them in a sentence.';
  }

  const enter = roving($('thumbs'), '.thumb');
  const refresh = perFrame(() => { showPictures(embedder); enter(); render(); });
  pictures.addEventListener('change', refresh);
  embedder.addEventListener('progress', refresh);
  $('cancel').addEventListener('click', () => embedder.cancel());
  $('clear').addEventListener('click', () => { embedder.cancel(); pictures.remove(pictures.all); $('pick').focus(); });
  $('retry').addEventListener('click', () => {
    for (const picture of pictures.all) if (picture.state === 'failed') Object.assign(picture, { state: 'waiting', error: null });
    embedder.run();
  });
  suggest(info.model === 'demo' ? ['three blue stars', 'a red circle', 'something striped', 'two hearts on a pink background', 'an orange triangle'] : []);
}

/** Fills the fields with what the samples show, so that every view has something to say. */
function prefill(drawn) {
  const captions = drawn.map(({ caption }) => caption);
  $('query').value = captions[1];
  $('sentences').value ||= captions.slice(0, 8).join('\n');
  $('label-list').value ||= DEMO_LABELS;
  if ($('template').value === $('template').defaultValue) $('template').value = DEMO_TEMPLATE;
}

function suggest(sentences) {
  $('suggestions').replaceChildren(...sentences.slice(0, SUGGESTED).map((sentence) => h('li', {}, h('button', {
    type: 'button',
    onclick: () => {
      $('query').value = sentence;
      $('query').dispatchEvent(new Event('input'));
    },
  }, sentence))));
}

const thumbs = new Map();

function showPictures(embedder) {
  const { all } = pictures;
  const done = all.filter(({ state }) => state === 'done').length;
  const failed = all.filter(({ state }) => state === 'failed');
  const waiting = all.length - done - failed.length;
  $('pictures-count').textContent = all.length ? all.length : '';
  $('thumbs').hidden = $('pictures-tools').hidden = all.length === 0;
  $('thumbs').replaceChildren(...all.map(thumb));
  for (const id of thumbs.keys()) if (!all.some((picture) => picture.id === id)) thumbs.delete(id);
  $('cancel').hidden = $('progress').hidden = !embedder.running;
  $('retry').hidden = embedder.running || !(failed.length || waiting);
  $('progress').value = all.length ? (done + failed.length) / all.length : 0;
  $('progress-text').textContent = embedder.note
    || (embedder.running ? `${done} of ${all.length} embedded` : summary(all, failed, waiting));
  if (!embedder.running && embedder.took && embedder.finished) {
    const rate = embedder.finished / (embedder.took / 1000);
    $('throughput').textContent = `${count(embedder.finished, 'picture')}, ${amount(rate)}/s`;
  }
  $('refused').replaceChildren(...failed.map((picture) => h('li', {}, picture.error)));
}

function summary(all, failed, waiting) {
  if (!all.length) return '';
  const parts = [];
  if (failed.length) parts.push(`${count(failed.length, 'picture')} refused`);
  if (waiting) parts.push(`${waiting} not sent`);
  return parts.length ? parts.join(', ') : 'All embedded';
}

function thumb(picture) {
  let button = thumbs.get(picture.id);
  if (!button) {
    button = h('button', {
      type: 'button', tabindex: '-1', title: picture.name, 'aria-label': `Remove ${picture.name}`,
      onclick: () => {
        const next = button.nextElementSibling ?? button.previousElementSibling;
        pictures.remove([picture]);
        requestAnimationFrame(() => (next?.isConnected ? next : $('pick')).focus());
      },
    }, shown(picture));
    thumbs.set(picture.id, button);
  }
  button.className = `thumb ${picture.state}`;
  return button;
}
