// A value that a request can be sent with: what the document has as an example, or else one that
// means something to this service.

import { alternatives, properties, resolved } from './schema.js';

const SENTENCE = 'three blue stars';
const SENTENCES = ['a red circle', SENTENCE];

/** What examples are made of: the model that is loaded, a sample picture as base64, and whether there
 * is an index to search. */
export const known = { model: 'demo', picture: '', hasIndex: true };

/** Names of fields that hold text, in the dialects of embedding services. */
const TEXTS = /^(texts?|inputs?|query|queries|sentences?|prompt|content|documents?|labels?|candidate_labels)$/;

const MODEL = /^model(_?name|_id)?$/i;
const PICTURES = /^images?(_base64)?$/;

/** What an example says first, of an object whose fields may all be left out. */
const SUBJECTS = ['input', 'texts', 'text', 'query', 'inputs'];

/** An example of a schema, for a field of this name. */
export function exampleOf(document, given, name = '', depth = 0) {
  const { schema } = resolved(document, given);
  const said = schema.example ?? schema.examples?.[0];
  if (said !== undefined) return said;
  if (schema.const !== undefined) return schema.const;
  if (schema.default !== undefined && schema.default !== null) return schema.default;
  if (schema.enum) return schema.enum[0];
  if (alternatives(schema).length) {
    const chosen = alternatives(schema).find((other) => resolved(document, other).schema.type !== 'null');
    return exampleOf(document, chosen ?? alternatives(schema)[0], name, depth);
  }
  if (properties(document, schema).length && depth < 6) {
    const all = properties(document, schema);
    if (all.some((field) => field.name === 'datatype')) return tensor();
    const required = all.filter((field) => field.required);
    const wanted = required.length ? required : chosen(all);
    return Object.fromEntries(wanted.map((field) => [field.name, exampleOf(document, field.schema, field.name, depth + 1)]));
  }
  const type = [schema.type].flat().find((one) => one !== 'null');
  if (type === 'array') {
    const items = resolved(document, schema.items ?? {}).schema;
    if (items.type === 'string' && TEXTS.test(name)) return SENTENCES;
    if (items.type === 'string' && PICTURES.test(name)) return [known.picture];
    return [exampleOf(document, schema.items ?? {}, name, depth + 1)];
  }
  if (type === 'integer' || type === 'number') return schema.minimum ?? 1;
  if (type === 'boolean') return true;
  if (type === 'object') return {};
  // A field of a form that holds JSON.
  if (schema.contentMediaType === 'application/json') return JSON.stringify(SENTENCES);
  if (MODEL.test(name)) return known.model;
  if (PICTURES.test(name)) return known.picture;
  return TEXTS.test(name) || type === undefined ? SENTENCE : 'text';
}

/** The fields that are worth an example where none must be there: what is labelled, and with what;
 * else what is embedded. */
function chosen(all) {
  const named = (name) => all.find((field) => field.name === name);
  const names = named('labels') && named('images') ? ['images', 'labels'] : SUBJECTS.filter(named).slice(0, 1);
  return names.map(named);
}

/** Texts as an input of the Open Inference Protocol, whose fields depend on each other. */
function tensor() {
  return { name: 'texts', datatype: 'BYTES', shape: [SENTENCES.length], data: SENTENCES };
}
