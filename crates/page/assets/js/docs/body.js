// The fields in which the body of a request is written: JSON, a form, or bytes. Each editor has
// its element, `value()`, which is what is sent, and `curl()`, the same for a shell.

import { h } from '../dom.js';
import { samples } from '../try/intake.js';
import { exampleOf } from './example.js';
import { isFile, properties, resolved, typeOf } from './schema.js';

/** The editor for a body of this type. */
export function editor(document, kind, media) {
  if (kind === 'multipart/form-data') return form(document, media.schema ?? {});
  if (/json/.test(kind)) return json(document, kind, media);
  if (/^(image\/|application\/octet-stream)/.test(kind)) return binary(kind);
  return plain(document, kind, media);
}

export const quoted = (text) => `'${String(text).replaceAll("'", `'\\''`)}'`;

function exampleOfMedia(document, media) {
  const listed = Object.values(media.examples ?? {})[0]?.value;
  return media.example ?? listed ?? exampleOf(document, media.schema ?? {});
}

function json(document, kind, media) {
  const text = JSON.stringify(exampleOfMedia(document, media), null, 2);
  const area = h('textarea', { rows: Math.min(14, text.split('\n').length + 1), spellcheck: 'false', value: text });
  return {
    element: h('label', { class: 'field' }, h('span', {}, 'Body ', h('em', {}, kind)), area),
    value: async () => ({ body: area.value, headers: { 'content-type': kind } }),
    curl: () => ` \\\n  -H ${quoted(`Content-Type: ${kind}`)} -d ${quoted(area.value.replace(/\s*\n\s*/g, ' '))}`,
    changed: (run) => area.addEventListener('input', run),
  };
}

function plain(document, kind, media) {
  const area = h('textarea', { rows: 4, spellcheck: 'false', value: String(exampleOfMedia(document, media)) });
  return {
    element: h('label', { class: 'field' }, h('span', {}, 'Body ', h('em', {}, kind)), area),
    value: async () => ({ body: area.value, headers: { 'content-type': kind } }),
    curl: () => ` \\\n  -H ${quoted(`Content-Type: ${kind}`)} --data-binary ${quoted(area.value)}`,
    changed: (run) => area.addEventListener('input', run),
  };
}

function binary(kind) {
  const type = kind.includes('*') ? 'image/png' : kind;
  const files = picker('Body', kind, false);
  return {
    element: files.element,
    value: async () => ({ body: (await files.chosen())[0], headers: { 'content-type': type } }),
    curl: () => ` \\\n  -H ${quoted(`Content-Type: ${type}`)} --data-binary ${quoted(`@${files.names()[0]}`)}`,
    changed: files.changed,
  };
}

/** A form: a field for each property; files are the samples until others are chosen. */
function form(document, schema) {
  const { schema: whole } = resolved(document, schema);
  const hasFile = properties(document, whole).some(({ schema: of }) => filesOf(document, of));
  const parts = properties(document, whole).map((field) => part(document, field, hasFile));
  return {
    element: h('div', { class: 'parts' }, parts.map((each) => each.element)),
    value: async () => {
      const body = new FormData();
      for (const each of parts) await each.add(body);
      return { body, headers: {} };
    },
    curl: () => parts.map((each) => each.curl()).join(''),
    changed: (run) => { for (const each of parts) each.changed(run); },
  };
}

/** Whether a property is a file (1), several (2) or none (0). */
function filesOf(document, given) {
  const { schema } = resolved(document, given);
  if (isFile(schema)) return 1;
  return schema.items && isFile(resolved(document, schema.items).schema) ? 2 : 0;
}

function part(document, { name, schema: given, required }, hasFile) {
  const { schema } = resolved(document, given);
  const files = filesOf(document, given);
  if (files) {
    const chosen = picker(name, typeOf(document, given), files === 2);
    return {
      ...chosen,
      add: async (body) => { for (const file of await chosen.chosen()) body.append(name, file, file.name); },
      curl: () => chosen.names().map((file) => ` \\\n  -F ${quoted(`${name}=@${file}`)}`).join(''),
    };
  }
  const isSwitch = schema.type === 'boolean';
  // What may be left out is, where its default does the same or a file stands for it.
  const value = isSwitch ? schema.default ?? false : required || (schema.default ?? schema.example) !== undefined || !hasFile ? exampleOf(document, given, name) : '';
  const input = isSwitch
    ? h('input', { type: 'checkbox', checked: value })
    : h('input', { type: 'text', spellcheck: 'false', value: typeof value === 'object' ? JSON.stringify(value) : String(value) });
  const label = [name, ' ', h('em', {}, required ? 'required' : typeOf(document, given))];
  const current = () => (isSwitch ? String(input.checked) : input.value);
  const isDefault = () => !required && (current() === '' || current() === String(schema.default));
  return {
    element: isSwitch ? h('label', { class: 'small' }, input, label) : h('label', { class: 'field' }, h('span', {}, label), input),
    add: async (body) => { if (!isDefault()) body.append(name, current()); },
    curl: () => (isDefault() ? '' : ` \\\n  -F ${quoted(`${name}=${current()}`)}`),
    changed: (run) => input.addEventListener('input', run),
  };
}

/** Files: the samples, until others are chosen. */
function picker(name, type, several) {
  let own = null;
  const most = several ? 3 : 1;
  const listed = ['red-circle.png', 'three-blue-stars.png', 'striped-green-square.png'].slice(0, most);
  const input = h('input', { type: 'file', multiple: several, 'aria-label': `${name}: choose files` });
  const told = h('span', { class: 'small muted' }, several ? 'Sample pictures, unless you choose others' : 'A sample picture, unless you choose another');
  const pictures = h('span', { class: 'chosen' }, listed.map((file) => h('img', { src: new URL(`../../samples/${file}`, import.meta.url).href, alt: file, loading: 'lazy' })));
  input.addEventListener('change', () => {
    own = input.files.length ? [...input.files] : null;
    pictures.hidden = told.hidden = own !== null;
  });
  return {
    element: h('div', { class: 'field' }, h('span', {}, name, ' ', h('em', {}, type)), h('div', { class: 'files' }, pictures, told, input)),
    chosen: async () => own ?? (await samples(most)).map(({ file }) => file),
    names: () => own?.map((file) => file.name) ?? listed,
    changed: (run) => input.addEventListener('change', run),
  };
}
