// A value that a request can be sent with: what the document has as an example, or else one that
// means something to this service.

import { alternatives, properties, resolved } from './schema.js';

const SENTENCE = 'three blue stars';
const SENTENCES = ['a red circle', SENTENCE];

/** Names of fields that hold text, in the dialects of embedding services. */
const TEXTS = /^(texts?|inputs?|query|queries|sentences?|prompt|content|documents?|labels?|candidate_labels)$/;

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
    const wanted = properties(document, schema).filter((field) => field.required || said);
    return Object.fromEntries(wanted.map((field) => [field.name, exampleOf(document, field.schema, field.name, depth + 1)]));
  }
  const type = [schema.type].flat().find((one) => one !== 'null');
  if (type === 'array') {
    const items = resolved(document, schema.items ?? {}).schema;
    if (items.type === 'string' && TEXTS.test(name)) return SENTENCES;
    return [exampleOf(document, schema.items ?? {}, name, depth + 1)];
  }
  if (type === 'integer' || type === 'number') return schema.minimum ?? 1;
  if (type === 'boolean') return true;
  if (type === 'object') return {};
  // A field of a form that holds JSON.
  if (schema.contentMediaType === 'application/json') return JSON.stringify(SENTENCES);
  return TEXTS.test(name) || type === undefined ? SENTENCE : 'text';
}
