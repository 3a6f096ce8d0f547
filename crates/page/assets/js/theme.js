// Light or dark, before anything is drawn: a plain script, so that it runs before the body is
// there. The choice is kept in this browser; without one the system's is followed.
(() => {
  const root = document.documentElement;
  const system = matchMedia('(prefers-color-scheme: dark)');
  const chosen = () => {
    try { return localStorage.getItem('theme'); } catch { return null; }
  };
  const apply = () => {
    const theme = chosen() || (system.matches ? 'dark' : 'light');
    root.dataset.theme = theme;
    for (const button of document.querySelectorAll('[data-toggles="theme"]')) {
      button.setAttribute('aria-pressed', String(theme === 'dark'));
    }
    dispatchEvent(new Event('theme'));
  };
  apply();
  system.addEventListener('change', apply);
  document.addEventListener('DOMContentLoaded', apply);
  document.addEventListener('click', (event) => {
    if (!event.target.closest('[data-toggles="theme"]')) return;
    const next = root.dataset.theme === 'dark' ? 'light' : 'dark';
    try {
      // Who chooses what the system says follows the system again.
      if (next === (system.matches ? 'dark' : 'light')) localStorage.removeItem('theme');
      else localStorage.setItem('theme', next);
      apply();
    } catch {
      root.dataset.theme = next;
    }
  });
})();
