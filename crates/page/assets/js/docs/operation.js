// One operation: what it reads, what it answers, and beside it a request to try.

import { h } from '../dom.js';
import { known } from './example.js';
import { fields, typeOf } from './schema.js';
import { tryIt } from './try.js';

export const METHODS = ['get', 'post', 'put', 'patch', 'delete', 'head', 'options'];

/** The badge of a method. */
export const badge = (method) => h('span', { class: `method ${method}` }, method.toUpperCase());

/** The id of an operation within the page. */
export const anchor = (method, path) => `${method}${path.replace(/[^A-Za-z0-9]+/g, '-')}`.replace(/-$/, '');

/** All of an operation. */
export function operation(document, path, method, of) {
  const id = anchor(method, path);
  return h('section', { class: 'card operation', id, 'aria-label': `${method.toUpperCase()} ${path}` },
    h('header', {}, badge(method), h('h2', {}, path), of.summary && h('p', {}, of.summary)),
    path === '/search' && !known.hasIndex && h('p', { class: 'notice' }, 'This service has no index, so it answers 404 here. Start it with --index to search what embed wrote.'),
    h('div', { class: 'halves' },
      h('div', { class: 'told' }, of.description && of.description !== of.summary && h('p', {}, of.description), body(document, of), parameters(document, of), statuses(document, of)),
      h('div', { class: 'run' }, tryIt(document, path, method, of))));
}

function body(document, of) {
  const kinds = Object.entries(of.requestBody?.content ?? {});
  return kinds.map(([kind, { schema = {} }]) => [h('h3', {}, 'Body ', h('code', {}, kind)), fields(document, schema)]);
}

function parameters(document, of) {
  const all = of.parameters ?? [];
  if (!all.length) return null;
  const list = h('ul', { class: 'fields' }, all.map(({ name, in: where, required, description, schema = {} }) => h('li', {},
    h('span', { class: 'name' }, name), h('span', { class: 'type' }, `${where}, ${typeOf(document, schema)}`),
    required && h('span', { class: 'must' }, 'required'), description && h('p', {}, description))));
  const onlyHeaders = all.every(({ in: where, required }) => where === 'header' && !required);
  return onlyHeaders
    ? [h('h3', {}, 'Parameters'), h('details', { class: 'small' }, h('summary', {}, `Headers, all optional (${all.length})`), list)]
    : [h('h3', {}, 'Parameters'), list];
}

function statuses(document, of) {
  return [h('h3', {}, 'Answers'), h('div', { class: 'statuses' }, Object.entries(of.responses ?? {}).map(([status, response]) => {
    const kind = { 2: 'good', 4: 'warn', 5: 'bad' }[status[0]] ?? '';
    const content = Object.entries(response.content ?? {});
    const headers = Object.entries(response.headers ?? {});
    return h('details', { open: status === '200' },
      h('summary', {}, h('span', { class: `status ${kind}` }, status), ` ${response.description ?? ''}`),
      h('div', {},
        content.map(([type, { schema = {} }]) => [h('p', { class: 'small muted' }, h('code', {}, type)), fields(document, schema)]),
        headers.length > 0 && h('details', { class: 'small' }, h('summary', {}, `Headers (${headers.length})`),
          h('ul', { class: 'fields' }, headers.map(([name, { description }]) => h('li', {}, h('span', { class: 'name' }, name), description && h('p', {}, description)))))));
  }))];
}
