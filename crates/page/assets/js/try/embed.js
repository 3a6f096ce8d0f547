// Vectors from the service: pictures in requests of a size that leaves room for others and shows
// how far it has come; sentences once each.

import { ApiError, send } from '../api.js';
import { count } from '../format.js';
import { pictures } from './store.js';

const PICTURES_A_REQUEST = 16;
const BYTES_A_REQUEST = 16 << 20;
const REQUESTS_AT_ONCE = 3;

/** Embeds what waits, and says how it goes. Dispatches "progress". */
export class Embedder extends EventTarget {
  constructor(info) {
    super();
    const { limits } = info;
    this.headers = expecting(info);
    this.pictures = Math.min(PICTURES_A_REQUEST, limits.max_images_per_request ?? PICTURES_A_REQUEST);
    this.bytes = Math.min(BYTES_A_REQUEST, (limits.payload_limit ?? BYTES_A_REQUEST) / 2);
    this.abort = null;
    this.note = '';
  }

  get running() { return this.abort !== null; }

  cancel() { this.abort?.abort(); }

  /** Sends all pictures that wait, and those that come while it does. */
  async run() {
    if (this.running) return;
    this.abort = new AbortController();
    const { signal } = this.abort;
    this.began = performance.now();
    this.finished = 0;
    this.progress();
    const worker = async () => {
      for (let chunk; !signal.aborted && (chunk = this.take()).length;) await this.embed(chunk, signal);
    };
    await Promise.all(Array.from({ length: REQUESTS_AT_ONCE }, worker));
    this.took = performance.now() - this.began;
    this.abort = null;
    this.note = '';
    this.progress();
  }

  /** The next pictures for a request. */
  take() {
    const chunk = [];
    let bytes = 0;
    for (const picture of pictures.all) {
      if (picture.state !== 'waiting') continue;
      if (chunk.length && (chunk.length === this.pictures || bytes + picture.file.size > this.bytes)) break;
      picture.state = 'sending';
      bytes += picture.file.size;
      chunk.push(picture);
    }
    return chunk;
  }

  /** Embeds these. Those that the service refuses are told so, and the others sent again. */
  async embed(chunk, signal) {
    while (chunk.length) {
      try {
        const { data } = await send('embed/images', {
          body: form(chunk), headers: this.headers, signal, what: count(chunk.length, 'picture'),
          waits: (seconds, sentence) => { this.note = `${sentence} Waiting ${seconds} s.`; this.progress(); },
        });
        chunk.forEach((picture, at) => this.done(picture, Float32Array.from(data.embeddings[at])));
        this.note = '';
        chunk = [];
      } catch (error) {
        chunk = await this.refused(chunk, error, signal);
      }
      pictures.changed();
      this.progress();
    }
  }

  done(picture, vector) {
    Object.assign(picture, { state: 'done', vector, error: null });
    this.finished += 1;
  }

  fail(picture, sentence) { Object.assign(picture, { state: 'failed', error: sentence }); }

  /** Blames the pictures that an error is about, and gives back those that are to be sent again. */
  async refused(chunk, error, signal) {
    if (signal.aborted) {
      for (const picture of chunk) picture.state = 'waiting';
      return [];
    }
    // "files[3] (\"a.png\"): ..." names the part of one picture.
    const named = /^files\[(\d+)\]/.exec(error.message);
    const blamed = named && chunk[Number(named[1])];
    if (blamed) {
      this.fail(blamed, error.message);
      return chunk.filter((picture) => picture !== blamed);
    }
    // Too much together may be little enough apart.
    if (error instanceof ApiError && error.status === 413 && chunk.length > 1) {
      const half = Math.ceil(chunk.length / 2);
      await this.embed(chunk.slice(0, half), signal);
      return chunk.slice(half);
    }
    for (const picture of chunk) this.fail(picture, error.message);
    return [];
  }

  progress() { this.dispatchEvent(new Event('progress')); }
}

/** Vectors that the page has compare with no others: a service that was started again with another
 * model refuses instead of answering. */
/** The header by which vectors of another space are refused. */
export function expecting({ fingerprint }) {
  return fingerprint ? { 'x-expect-fingerprint': fingerprint } : {};
}

function form(chunk) {
  const body = new FormData();
  for (const picture of chunk) body.append('files', picture.file, picture.name);
  return body;
}

const MOST_SENTENCES = 4096;
const sentences = new Map();

/** The vector of each text, in their order; those that are known are not asked for again. */
export async function vectorsOf(texts, { info, signal }) {
  const { limits } = info;
  const unknown = [...new Set(texts)].filter((text) => !sentences.has(text));
  const most = limits.max_texts_per_request ?? unknown.length;
  for (let at = 0; at < unknown.length; at += most) {
    const part = unknown.slice(at, at + most);
    const { data } = await send('embed/text', {
      body: JSON.stringify({ texts: part }), headers: { 'content-type': 'application/json', ...expecting(info) },
      signal, what: count(part.length, 'text'),
    });
    part.forEach((text, index) => sentences.set(text, Float32Array.from(data.embeddings[index])));
  }
  const vectors = texts.map((text) => sentences.get(text));
  for (const text of sentences.keys()) {
    if (sentences.size <= MOST_SENTENCES) break;
    sentences.delete(text);
  }
  return vectors;
}
