// Requests to the service: with the key, for the model that was chosen, with what it says when it refuses, and again later
// where it says that.

import { askForKey, key } from './key.js';
import { model } from './model.js';

/** What the service, or the way to it, said instead of an answer. */
export class ApiError extends Error {
  constructor(sentence, { status = 0, retryAfter = null, id = null } = {}) {
    super(sentence);
    this.status = status;
    this.retryAfter = retryAfter;
    this.id = id;
  }
}

/** So often a request is sent again that the service was too busy for. */
const MOST_TRIES = 30;

/**
 * Sends a request until it is answered; 429 and 503 are waited out as the service asks, and 401
 * asks the person for the key.
 *
 * `what` says what is in it, for the list of requests. `waits(seconds, sentence)` is told of each
 * wait. Dispatches "call" on the window with what it took.
 */
export async function send(path, { body, headers = {}, signal, what = '', quiet = false, waits } = {}) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await once(path, { body, headers, signal, what, quiet });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.status === 401 && !quiet && await askForKey(error.message)) continue;
      if (error.retryAfter === null || tries >= MOST_TRIES) throw error;
      waits?.(error.retryAfter, error.message);
      await pause(error.retryAfter, signal);
    }
  }
}

async function once(path, { body, headers, signal, what, quiet }) {
  const began = performance.now();
  const { response, text } = await exchange(path, { method: body ? 'POST' : 'GET', body, headers, signal });
  const took = performance.now() - began;
  const call = {
    path, what, took, status: response.status, id: response.headers.get('x-request-id'),
    stages: serverTiming(response.headers.get('server-timing')),
    cache: response.headers.get('x-cache'),
  };
  if (!quiet) dispatchEvent(new CustomEvent('call', { detail: call }));
  if (!response.ok) {
    throw new ApiError(sentence(text, response), {
      status: response.status,
      retryAfter: [429, 503].includes(response.status) ? retryAfter(response) : null,
      id: call.id,
    });
  }
  const json = response.headers.get('content-type')?.startsWith('application/json');
  return { ...call, data: json ? JSON.parse(text) : text, headers: response.headers };
}

/** One exchange with the key, whatever comes of it. */
export async function exchange(path, { method, body, headers = {}, signal, as = 'text' }) {
  const all = new Headers(headers);
  if (key() && !all.has('authorization')) all.set('authorization', `Bearer ${key()}`);
  if (model() && !all.has('x-model')) all.set('x-model', model());
  try {
    const response = await fetch(path, { method, body, headers: all, signal, cache: 'no-store', credentials: 'same-origin' });
    return { response, text: await response[as]() };
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError('The service did not answer: it may have stopped, or the connection broke.');
  }
}

function retryAfter(response) {
  const seconds = Number(response.headers.get('retry-after'));
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, 60) : 1;
}

/** What the service said: `detail`, a sentence or a list of what is wrong with the fields. */
function sentence(text, response) {
  try {
    const said = JSON.parse(text);
    const { detail, error } = said;
    if (typeof detail === 'string') return detail;
    if (Array.isArray(detail)) return detail.map(({ loc = [], msg }) => `${loc.join('.')}: ${msg}`).join('; ');
    if (typeof error?.message === 'string') return error.message;
  } catch { /* A proxy's page, not ours. */ }
  return `${response.status} ${response.statusText}`.trim();
}

/** The stages of a Server-Timing header: [{ name, millis }]. */
export function serverTiming(header) {
  if (!header) return [];
  return header.split(',').map((member) => {
    const [name, ...parameters] = member.split(';').map((piece) => piece.trim());
    const duration = parameters.find((piece) => piece.startsWith('dur='));
    return { name, millis: duration ? Number(duration.slice(4)) : NaN };
  }).filter(({ millis }) => Number.isFinite(millis));
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => { signal?.removeEventListener('abort', stop); resolve(); }, seconds * 1000);
    const stop = () => { clearTimeout(timer); reject(signal.reason); };
    signal?.addEventListener('abort', stop, { once: true });
    if (signal?.aborted) stop();
  });
}
