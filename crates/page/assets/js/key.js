// The API key, where the service asks for one. It is kept in this tab's session and nowhere else.

import { h } from './dom.js';

const NAME = 'siglip2-api-key';

/** The key that is sent, if any. */
export function key() {
  try { return sessionStorage.getItem(NAME) || ''; } catch { return kept; }
}

let kept = '';

function keep(value) {
  kept = value;
  try {
    if (value) sessionStorage.setItem(NAME, value);
    else sessionStorage.removeItem(NAME);
  } catch { /* No storage: it lasts until the page is left. */ }
  dispatchEvent(new Event('key'));
}

let asking = null;

/** Asks the person for the key, with the sentence that the service gave; false if none came. */
export function askForKey(sentence = '') {
  asking ??= new Promise((resolve) => {
    const input = h('input', { type: 'password', id: 'key-input', autocomplete: 'off', spellcheck: 'false', value: key() });
    const dialog = h('dialog', { 'aria-labelledby': 'key-title' },
      h('form', { method: 'dialog', onsubmit: () => { keep(input.value.trim()); dialog.close('sent'); } },
        h('div', {},
          h('h2', { id: 'key-title' }, 'API key'),
          h('p', { class: 'muted small' }, sentence || 'Requests of this page carry this key.')),
        h('label', { class: 'field' }, h('span', {}, 'Key'), input),
        h('p', { class: 'muted small' }, 'It is kept in this tab until it is closed, and sent to this service alone.'),
        h('div', { class: 'row' },
          h('button', { type: 'button', class: 'button quiet', onclick: () => dialog.close('') }, 'Cancel'),
          h('button', { class: 'button primary' }, 'Use key'))));
    dialog.addEventListener('close', () => {
      dialog.remove();
      asking = null;
      resolve(dialog.returnValue === 'sent');
    });
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
  });
  return asking;
}
