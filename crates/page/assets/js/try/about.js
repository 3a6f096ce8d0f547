// What runs: the facts of /info that say which vectors these are.

import { $, h } from '../dom.js';

/** Shows the model, where it runs, and what identifies its vectors. */
export function showModel(info) {
  const facts = {
    Model: info.model,
    Device: info.device,
    Engine: `${info.engine}, ${info.precision}`,
    'Cosine to FP32': info.cosine_to_fp32?.toFixed(6),
    Dimensions: info.text_dim,
    'Picture size': `${info.image_size} px`,
    'Tokens of a text': info.text_tokens,
    'Logit scale, bias': `${Math.exp(info.logit_scale).toFixed(2)}, ${info.logit_bias.toFixed(2)}`,
    'Largest batch': info.max_batch,
    Fingerprint: typeof info.fingerprint === 'string' ? info.fingerprint : null,
    Version: [info.version, info.build?.commit].filter(Boolean).join(' · '),
  };
  $('about-text').textContent = info.description ? `${info.description}.`.replace(/\.\.$/, '.') : '';
  const known = Object.entries(facts).filter(([, value]) => value !== undefined && value !== null);
  $('about').replaceChildren(...known.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
}
