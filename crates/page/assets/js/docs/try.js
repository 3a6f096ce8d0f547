// "Try it": writes the request of an operation, sends it, and shows all of the answer.

import { exchange } from '../api.js';
import { h, perFrame } from '../dom.js';
import { bytes, millis } from '../format.js';
import { key } from '../key.js';
import { editor, quoted } from './body.js';
import { exampleOf } from './example.js';

/** The form of an operation. */
export function tryIt(document, path, method, of) {
  // A form first: it has buttons for files, where JSON wants them in base64.
  const isForm = ([kind]) => Number(kind === 'multipart/form-data');
  const kinds = Object.entries(of.requestBody?.content ?? {}).sort((a, b) => isForm(b) - isForm(a));
  const parameters = (of.parameters ?? []).filter(({ in: where, required }) => where === 'path' || where === 'query' || required);
  const inputs = parameters.map((parameter) => ({
    ...parameter,
    input: h('input', { type: 'text', value: parameter.required ? String(parameter.example ?? exampleOf(document, parameter.schema ?? {}, parameter.name)) : '', spellcheck: 'false' }),
  }));
  const place = h('div', {});
  const curl = h('code', {});
  let body = null;
  const choose = (kind) => {
    const media = kinds.find(([name]) => name === kind);
    body = media ? editor(document, ...media) : null;
    place.replaceChildren(...(body ? [body.element] : []));
    body?.changed(write);
    write();
  };
  const target = () => targetOf(path, inputs);
  const write = perFrame(() => { curl.textContent = curlOf(method, target(), inputs, body); });
  for (const { input } of inputs) input.addEventListener('input', write);

  const answer = h('div', { class: 'answer', 'aria-live': 'polite' });
  const button = h('button', { class: 'button primary' }, 'Send');
  const form = h('form', {
    onsubmit: async (event) => {
      event.preventDefault();
      button.disabled = true;
      answer.replaceChildren(h('p', { class: 'small muted' }, 'Waiting for the answer.'));
      answer.replaceChildren(...await sent(method, target(), inputs, body));
      button.disabled = false;
    },
  },
    inputs.map(({ name, in: where, input }) => h('label', { class: 'field' }, h('span', {}, `${name} `, h('em', {}, where)), input)),
    kinds.length > 1 && h('label', { class: 'field' }, h('span', {}, 'Content type'),
      h('select', { onchange: ({ target: { value } }) => choose(value) }, kinds.map(([kind]) => h('option', {}, kind)))),
    place,
    h('div', { class: 'copy' }, h('pre', { tabindex: '0' }, curl), copier(() => curl.textContent)),
    h('div', { class: 'row' }, button));
  choose(kinds[0]?.[0]);
  return [h('h3', {}, 'Try it'), form, answer];
}

/** The path with its parameters, and the query. */
function targetOf(path, inputs) {
  const query = new URLSearchParams();
  let filled = path;
  for (const { name, in: where, input } of inputs) {
    if (where === 'path') filled = filled.replace(`{${name}}`, encodeURIComponent(input.value));
    if (where === 'query' && input.value) query.append(name, input.value);
  }
  const text = query.toString();
  return text ? `${filled}?${text}` : filled;
}

/** The address of a path, below wherever this page is served. */
const address = (target) => new URL(`.${target}`, location.href).href;

const headersOf = (inputs) => Object.fromEntries(inputs.filter(({ in: where, input }) => where === 'header' && input.value).map(({ name, input }) => [name, input.value]));

function curlOf(method, target, inputs, body) {
  const verb = method === 'get' || (method === 'post' && body) ? '' : ` -X ${method.toUpperCase()}`;
  const sentKey = key() ? ' \\\n  -H "Authorization: Bearer $API_KEY"' : '';
  const headers = Object.entries(headersOf(inputs)).map(([name, value]) => ` \\\n  -H ${quoted(`${name}: ${value}`)}`).join('');
  return `curl${verb} ${quoted(address(target))}${sentKey}${headers}${body?.curl() ?? ''}`;
}

async function sent(method, target, inputs, body) {
  const began = performance.now();
  try {
    const { body: content, headers = {} } = body ? await body.value() : {};
    const accept = target === '/' ? { accept: 'application/json' } : {};
    const { response, text: buffer } = await exchange(address(target), {
      method: method.toUpperCase(), body: content, headers: { ...accept, ...headersOf(inputs), ...headers }, as: 'arrayBuffer',
    });
    const took = performance.now() - began;
    return shown(response, buffer, took);
  } catch (error) {
    return [h('p', { class: 'notice bad' }, error.message)];
  }
}

function shown(response, buffer, took) {
  const kind = response.headers.get('content-type') ?? '';
  return [
    h('p', { class: 'line' }, h('b', { class: response.ok ? 'good' : 'bad' }, `${response.status} ${response.statusText}`),
      h('span', { class: 'small muted' }, `${millis(took)}, ${bytes(buffer.byteLength)}`)),
    h('details', { class: 'small' }, h('summary', {}, 'Headers'),
      h('dl', {}, [...response.headers].flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]))),
    content(kind, buffer),
  ];
}

const MOST_TEXT = 60_000;

function content(kind, buffer) {
  if (!buffer.byteLength) return h('p', { class: 'small muted' }, 'No body.');
  const text = () => new TextDecoder().decode(buffer);
  if (/json/.test(kind)) {
    try { return h('pre', { tabindex: '0' }, cut(brief(JSON.parse(text())))); } catch { /* Not JSON: as it came. */ }
  }
  if (/^text\/|json|xml|openmetrics/.test(kind)) return h('pre', { tabindex: '0' }, cut(text()));
  const url = URL.createObjectURL(new Blob([buffer], { type: kind }));
  return h('p', { class: 'small' }, `${bytes(buffer.byteLength)} of ${kind || 'bytes'}. `, h('a', { href: url, download: 'answer' }, 'Save'));
}

const cut = (text) => (text.length > MOST_TEXT ? `${text.slice(0, MOST_TEXT)}\n… ${bytes(text.length - MOST_TEXT)} more` : text);

/** JSON with two spaces, rows of many numbers on one line and shortened. */
function brief(value, indent = '') {
  const deeper = `${indent}  `;
  if (Array.isArray(value)) {
    if (!value.length) return '[]';
    if (value.every((item) => typeof item === 'number')) {
      return value.length > 8 ? `[${value.slice(0, 6).join(', ')}, … ${value.length} numbers]` : `[${value.join(', ')}]`;
    }
    return `[\n${value.map((item) => deeper + brief(item, deeper)).join(',\n')}\n${indent}]`;
  }
  if (value && typeof value === 'object') {
    const entries = Object.entries(value);
    if (!entries.length) return '{}';
    return `{\n${entries.map(([name, item]) => `${deeper}${JSON.stringify(name)}: ${brief(item, deeper)}`).join(',\n')}\n${indent}}`;
  }
  return JSON.stringify(value);
}

function copier(text) {
  return navigator.clipboard ? h('button', {
    type: 'button', class: 'button',
    onclick: async ({ target }) => {
      await navigator.clipboard.writeText(text());
      target.textContent = 'Copied';
      setTimeout(() => { target.textContent = 'Copy'; }, 1500);
    },
  }, 'Copy') : null;
}
