// Elements, made and moved through. All text goes in as text, never as HTML.

/** The element with this id. */
export const $ = (id) => document.getElementById(id);

/**
 * An element. `props`: what begins with "on" is a listener, "class", "dataset" and "style" are
 * what they say, what is an attribute is set as one; null, undefined and false are left out.
 */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'dataset') Object.assign(element.dataset, value);
    else if (name === 'style') for (const [key, is] of Object.entries(value)) element.style.setProperty(key, is);
    else if (name === 'value' || name === 'checked') element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Calls `run` once per frame however often it was asked for. */
export function perFrame(run) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; run(); });
  };
}

/** Calls `run` when nothing has been asked for `millis`. */
export function settled(run, millis) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...args), millis);
  };
}

/**
 * One stop of the Tab key for a whole group: the arrows, Home and End go on inside. Up and down
 * go by where things stand on the screen.
 */
export function roving(group, selector) {
  const items = () => [...group.querySelectorAll(selector)];
  const select = (item) => {
    for (const other of items()) other.tabIndex = other === item ? 0 : -1;
  };
  group.addEventListener('focusin', (event) => {
    const item = event.target.closest(selector);
    if (item) select(item);
  });
  group.addEventListener('keydown', (event) => {
    const all = items();
    const at = all.indexOf(event.target.closest(selector));
    if (at < 0) return;
    const to = {
      ArrowRight: () => all[at + 1],
      ArrowLeft: () => all[at - 1],
      ArrowDown: () => beside(all, at, 1),
      ArrowUp: () => beside(all, at, -1),
      Home: () => all[0],
      End: () => all.at(-1),
    }[event.key]?.();
    if (!to) return;
    event.preventDefault();
    to.focus();
  });
  return () => {
    const all = items();
    if (all.length && !all.some((item) => item.tabIndex === 0)) all[0].tabIndex = 0;
  };
}

/** The nearest in the next line below (1) or above (-1). */
function beside(all, at, way) {
  const from = all[at].getBoundingClientRect();
  let best;
  let distance = Infinity;
  for (const item of all) {
    const to = item.getBoundingClientRect();
    const down = (to.top - from.top) * way;
    if (down < from.height / 2) continue;
    const far = down * 4 + Math.abs(to.left - from.left);
    if (far < distance) [best, distance] = [item, far];
  }
  return best;
}

/** Tabs: one stop of the Tab key, arrows choose. `chosen` is told the panel's id. */
export function tabs(list, chosen) {
  const all = [...list.querySelectorAll('[role="tab"]')];
  const choose = (tab) => {
    for (const other of all) {
      const is = other === tab;
      other.setAttribute('aria-selected', String(is));
      other.tabIndex = is ? 0 : -1;
      $(other.getAttribute('aria-controls')).hidden = !is;
    }
    chosen(tab.getAttribute('aria-controls'));
  };
  list.addEventListener('click', (event) => {
    const tab = event.target.closest('[role="tab"]');
    if (tab) choose(tab);
  });
  list.addEventListener('keydown', (event) => {
    const at = all.indexOf(document.activeElement);
    const to = { ArrowRight: all[(at + 1) % all.length], ArrowLeft: all.at(at - 1), Home: all[0], End: all.at(-1) }[event.key];
    if (at < 0 || !to) return;
    event.preventDefault();
    to.focus();
    choose(to);
  });
  choose(all.find((tab) => tab.getAttribute('aria-selected') === 'true') ?? all[0]);
}
