// Keeps a campaign's page up to date: what the server has rendered anew takes the place of what was.
(() => {
  const live = document.querySelector("[data-live]");
  if (!live || !window.EventSource) return;
  const source = new EventSource(live.dataset.live);
  source.addEventListener("parts", (event) => {
    const parts = JSON.parse(event.data);
    for (const name of ["state", "progress", "waits", "failures", "slowest"]) {
      const part = document.getElementById(name);
      // Who reads with a screen reader is told again only what has changed.
      if (part && part.innerHTML !== parts[name]) part.innerHTML = parts[name];
    }
    // The buttons are others then; a page in which somebody writes is left alone until they have done.
    const writes = document.activeElement && document.activeElement.closest("form, details[open]");
    if (live.dataset.status !== parts.status && !writes) location.reload();
  });
  window.addEventListener("pagehide", () => source.close());
})();
