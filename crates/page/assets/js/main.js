// The page: who shows what, by the part of the address behind "#".

import { send } from './api.js';
import { $, h } from './dom.js';
import { askForKey, key } from './key.js';
import { offerModels } from './model.js';
import { startTrying } from './try/main.js';
import { status } from './status/view.js';

const pages = { try: $('try'), status: $('status') };

function show() {
  const name = location.hash.slice(1) in pages ? location.hash.slice(1) : 'try';
  for (const [other, page] of Object.entries(pages)) page.hidden = other !== name;
  for (const link of document.querySelectorAll('[data-page]')) {
    if (link.dataset.page === name) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  if (name === 'status') status.start(pages.status);
  else status.stop();
}
addEventListener('hashchange', show);
show();

$('key-button').addEventListener('click', () => askForKey());

const keyButton = () => { if (key()) $('key-button').hidden = false; };
addEventListener('key', keyButton);
keyButton();

/** What the service is: until it is known, nothing can be tried. */
async function begin() {
  const chip = $('chip');
  try {
    const { data: info } = await send('info', { what: 'the model' });
    keyButton();
    chip.replaceChildren(h('span', { class: 'dot good' }), h('span', {}, info.model, h('span', { class: 'where' }, ` · ${info.device}`)));
    chip.title = `${info.model} on ${info.device}, ${info.precision}`;
    offerModels($('models'), info);
    startTrying(info);
  } catch (error) {
    chip.firstElementChild.className = 'dot bad';
    chip.lastElementChild.textContent = 'no service';
    $('trouble').hidden = false;
    $('trouble').textContent = error.message;
    if (error.status === 401) {
      $('key-button').hidden = false;
      addEventListener('key', () => location.reload(), { once: true });
    }
  }
}
begin();
