// How pictures come in: dropped, pasted, picked, or the samples that ship with the service.

import { exchange } from '../api.js';
import { $ } from '../dom.js';
import { MOST_PICTURES, Picture } from './store.js';

/** Calls `got(pictures, isDropped)` for each bunch that comes in; what is pasted counts as dropped. */
export function takeIn(got) {
  const bunch = (files, isDropped) => got([...files].map((file) => new Picture(file)), isDropped);
  $('pick').addEventListener('click', () => $('files').click());
  $('files').addEventListener('change', ({ target }) => {
    bunch(target.files, false);
    target.value = '';
  });
  addEventListener('paste', ({ clipboardData }) => {
    const files = [...clipboardData.files];
    if (files.length) bunch(files, true);
  });

  let depth = 0;
  const dragging = (is) => document.body.classList.toggle('dragging', is);
  const hasFiles = (event) => event.dataTransfer?.types.includes('Files');
  addEventListener('dragenter', (event) => { if (hasFiles(event)) { depth += 1; dragging(true); } });
  addEventListener('dragleave', (event) => { if (hasFiles(event)) { depth = Math.max(0, depth - 1); dragging(depth > 0); } });
  addEventListener('dragover', (event) => { if (hasFiles(event)) event.preventDefault(); });
  addEventListener('drop', async (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    dragging(false);
    bunch(await filesOf(event.dataTransfer), true);
  });
}

/** All files that were dropped, those in folders too; a folder's are taken if they look like pictures. */
async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return transfer.files;
  const files = [];
  const walk = async (entry, inside) => {
    if (files.length >= MOST_PICTURES) return;
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => { entry.file(resolve, reject); });
      if (!inside || file.type.startsWith('image/')) files.push(file);
      return;
    }
    const reader = entry.createReader();
    for (let some; (some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); })).length;) {
      for (const each of some) await walk(each, true);
    }
  };
  for (const entry of entries) await walk(entry, false);
  return files;
}

const SAMPLES = new URL('../../samples/', import.meta.url);

/** The sample pictures: shapes that the demo model knows. */
export async function samples(most = Infinity) {
  const listed = await read('samples.json', 'json');
  return Promise.all(listed.slice(0, most).map(async ({ file, caption }) => {
    const blob = await read(file, 'blob');
    return { file: new File([blob], file, { type: 'image/png' }), caption };
  }));
}

const read = async (file, as) => (await exchange(new URL(file, SAMPLES), { method: 'GET', as })).text;
