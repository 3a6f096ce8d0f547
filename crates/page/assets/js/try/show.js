// A picture on the page, wherever it stands. What a browser cannot show (TIFF) is named instead.

import { h } from '../dom.js';

export function shown(picture, { lazy = true } = {}) {
  const mark = () => h('span', { class: 'file-mark', 'aria-hidden': 'true' }, picture.name.split('.').at(-1).slice(0, 4).toUpperCase());
  if (picture.unshown) return mark();
  return h('img', {
    src: picture.url, alt: '', loading: lazy ? 'lazy' : null, decoding: 'async', draggable: 'false',
    onerror: ({ target }) => { picture.unshown = true; target.replaceWith(mark()); },
  });
}
