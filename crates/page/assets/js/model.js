// The model that requests are for, where the service has several. It is in the page's address, so
// that a link leads to it, and chosen anew with the page: no vector of another is left then.

import { h } from './dom.js';

const NAME = 'model';

/** The name of the model that was chosen; null for the one that the service takes by itself. */
export function model() {
  return new URLSearchParams(location.search).get(NAME) || null;
}

/** Lets the person choose, where there is a choice. */
export function offerModels(select, info) {
  const names = (info.models ?? []).map(({ name }) => name);
  if (names.length < 2) return;
  select.replaceChildren(...names.map((name) => h('option', { value: name, selected: name === info.model }, name)));
  select.hidden = false;
  select.addEventListener('change', () => {
    const address = new URL(location.href);
    address.searchParams.set(NAME, select.value);
    location.assign(address);
  });
}
