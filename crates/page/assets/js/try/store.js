// The pictures of the page and what is known of them, and the vectors of sentences.

/** A picture that a person chose. `state`: waiting, sending, done or failed. */
export class Picture {
  static #next = 1;

  constructor(file, caption = '') {
    this.id = Picture.#next++;
    this.file = file;
    this.name = file.name || `picture ${this.id}`;
    this.caption = caption;
    this.url = URL.createObjectURL(file);
    this.state = 'waiting';
    this.vector = null;
    this.error = null;
  }
}

/** So many pictures the page holds: they are shown all at once. */
export const MOST_PICTURES = 1000;

/** All pictures, in the order in which they came. Dispatches "change". */
class Pictures extends EventTarget {
  all = [];

  add(pictures) {
    const room = MOST_PICTURES - this.all.length;
    this.all.push(...pictures.slice(0, room));
    for (const left of pictures.slice(room)) URL.revokeObjectURL(left.url);
    this.changed();
    return Math.max(0, pictures.length - room);
  }

  remove(gone) {
    this.all = this.all.filter((picture) => !gone.includes(picture));
    for (const picture of gone) URL.revokeObjectURL(picture.url);
    this.changed();
  }

  /** Those that have a vector. */
  get embedded() { return this.all.filter((picture) => picture.vector); }

  changed() { this.dispatchEvent(new Event('change')); }
}

export const pictures = new Pictures();
