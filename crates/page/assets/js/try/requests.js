// The last requests of this page, each with the stages that the service timed.

import { $, h } from '../dom.js';
import { millis } from '../format.js';

const SHOWN = 7;
const STAGES = [
  ['receive', 'its bytes arrive'], ['decode', 'files become pixels'], ['prepare', 'pixels become the model’s square'],
  ['queue', 'it waits for a batch'], ['compute', 'the model runs'],
  ['search', 'the index is searched'], ['write', 'the answer is written'],
];

/** Shows each "call" that api.js tells of. */
export function showRequests() {
  $('stage-legend').replaceChildren(...STAGES.map(([name, means]) => h('li', { title: means }, h('i', { class: name }), name)));
  let empty = true;
  addEventListener('call', ({ detail }) => {
    if (empty) $('calls').replaceChildren();
    empty = false;
    $('calls').prepend(line(detail));
    while ($('calls').children.length > SHOWN) $('calls').lastElementChild.remove();
  });
}

function line({ path, what, took, status, stages, id, cache }) {
  const total = stages.find(({ name }) => name === 'total')?.millis;
  const parts = STAGES.map(([name]) => stages.find((stage) => stage.name === name)).filter(Boolean);
  const sum = Math.max(total ?? 0, parts.reduce((all, { millis: each }) => all + each, 0)) || 1;
  const listed = parts.map((part) => `${part.name} ${millis(part.millis)}`).join(', ');
  const ok = status >= 200 && status < 300;
  const title = [`${status}, request ${id}`, `in the browser ${millis(took)}, in the service ${millis(total)}`, listed, cache && `X-Cache: ${cache}`].filter(Boolean).join('\n');
  return h('li', { title },
    h('div', { class: 'line' },
      h('span', { class: ok ? '' : 'failed' }, h('code', {}, `/${path}`), ok ? ` ${what}` : ` ${status}`),
      h('span', { class: 'number' }, millis(total ?? took))),
    h('div', { class: 'track', role: 'img', 'aria-label': listed || 'no stages' },
      parts.map((part) => h('span', { class: `stage ${part.name}`, style: { '--part': part.millis / sum } }))));
}
