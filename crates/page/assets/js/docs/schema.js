// A JSON schema of the document, as people read it.

import { h } from '../dom.js';

/** So deep a schema within a schema is shown. */
const DEEPEST = 5;

/** Follows references within the document; `name` is that of the last one. */
export function resolved(document, schema) {
  let name = null;
  let own = {};
  for (let steps = 0; schema?.$ref && steps < 16; steps += 1) {
    const { $ref, ...beside } = schema;
    own = { ...beside, ...own };
    name = $ref.split('/').at(-1);
    schema = $ref.replace(/^#\//, '').split('/').reduce((at, key) => at?.[key.replaceAll('~1', '/').replaceAll('~0', '~')], document);
  }
  return { name, schema: { ...schema, ...own } };
}

/** The alternatives of a schema, or none. */
export const alternatives = (schema) => schema.oneOf ?? schema.anyOf ?? [];

/** The properties of an object, those of `allOf` among them: [{ name, schema, required }]. */
export function properties(document, schema) {
  const parts = [schema, ...(schema.allOf ?? []).map((part) => resolved(document, part).schema)];
  const required = new Set(parts.flatMap((part) => part.required ?? []));
  const all = Object.assign({}, ...parts.map((part) => part.properties ?? {}));
  return Object.entries(all)
    .map(([name, of]) => ({ name, schema: of, required: required.has(name) }))
    .sort((a, b) => b.required - a.required);
}

/** Whether it is a file of a form. */
export function isFile(schema) {
  return schema.format === 'binary' || (schema.type === 'string' && /^(image\/|application\/octet-stream)/.test(schema.contentMediaType ?? ''));
}

/** Its type in a few words. */
export function typeOf(document, given) {
  const { name, schema } = resolved(document, given);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  if (isFile(schema)) return 'file';
  const others = alternatives(schema);
  if (others.length) return [...new Set(others.map((other) => typeOf(document, other)))].join(' | ');
  const types = [schema.type ?? (schema.properties || schema.allOf ? 'object' : 'any')].flat();
  return types.map((type) => {
    if (type === 'array') return `${wrapped(typeOf(document, schema.items ?? schema.prefixItems?.[0] ?? {}))}[]`;
    return type === 'object' && name ? name : type;
  }).join(' | ');
}

const wrapped = (type) => (type.includes(' | ') ? `(${type})` : type);

/** What bounds its values, in a few words. */
function bounds(schema) {
  const told = [
    schema.default !== undefined && `default ${JSON.stringify(schema.default)}`,
    schema.minimum !== undefined && `at least ${schema.minimum}`,
    schema.maximum !== undefined && `at most ${schema.maximum}`,
    schema.minItems && `at least ${schema.minItems} of them`,
    schema.maxItems !== undefined && `at most ${schema.maxItems} of them`,
    schema.minLength > 0 && `at least ${schema.minLength} characters`,
    schema.maxLength !== undefined && `at most ${schema.maxLength} characters`,
    schema.pattern && `matches ${schema.pattern}`,
    schema.format && !isFile(schema) && schema.format,
  ].filter(Boolean);
  return told.join(', ');
}

/** The fields of a schema, with what is in them. */
export function fields(document, given, depth = 0) {
  const { schema } = resolved(document, given);
  const inner = schema.type === 'array' || schema.items ? resolved(document, schema.items ?? {}).schema : schema;
  const others = alternatives(inner);
  if (others.length) {
    return h('ul', { class: 'fields' }, others.map((other) => h('li', {},
      h('span', { class: 'type' }, typeOf(document, other)), text(resolved(document, other).schema.description), nested(document, other, depth))));
  }
  const all = properties(document, inner);
  if (!all.length) return text(inner.description) ?? h('p', { class: 'small muted' }, typeOf(document, given));
  return h('ul', { class: 'fields' }, all.map(({ name, schema: of, required }) => {
    const field = resolved(document, of).schema;
    return h('li', {},
      h('span', { class: 'name' }, name), h('span', { class: 'type' }, typeOf(document, of)),
      required && h('span', { class: 'must' }, 'required'),
      text([field.description, bounds(field)].filter(Boolean).join(' · ')),
      nested(document, of, depth));
  }));
}

/** What lies inside of a field, to be unfolded. */
function nested(document, given, depth) {
  const { schema } = resolved(document, given);
  const inner = resolved(document, schema.items ?? schema).schema;
  const has = alternatives(inner).length > 1 ? alternatives(inner).some((other) => properties(document, resolved(document, other).schema).length) : properties(document, inner).length;
  if (!has || depth >= DEEPEST) return null;
  const details = h('details', {}, h('summary', {}, 'Fields'));
  // Made when it is looked at: schemas may hold themselves.
  details.addEventListener('toggle', () => { if (details.children.length === 1) details.append(fields(document, schema.items ?? given, depth + 1)); });
  return details;
}

const text = (words) => (words ? h('p', {}, words.replace(/\s+/g, ' ')) : null);
