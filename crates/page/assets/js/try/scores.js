// Scores of vectors, with the two numbers that the model learned for it. The service computes
// the same: sigmoid(exp(logit_scale) * cosine + logit_bias).

export class Scores {
  constructor({ logit_scale, logit_bias }) {
    this.scale = Math.exp(logit_scale);
    this.bias = logit_bias;
  }

  logit(cosine) { return this.scale * cosine + this.bias; }

  probability(cosine) { return 1 / (1 + Math.exp(-this.logit(cosine))); }
}

/** The cosine of two vectors of length 1. */
export function cosine(a, b) {
  let sum = 0;
  for (let at = 0; at < a.length; at += 1) sum += a[at] * b[at];
  return sum;
}

/** Shares of 1 for logits. */
export function softmax(logits) {
  const most = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}
