// What a page needs beyond drawing: it says aloud what changed, brings the eye and the focus to what is new, and stops
// a key that is held down from voting on items nobody has read. The element outlives every rerun of the page.
const WAIT = 1500; // milliseconds for the new item to be drawn

function stopHeldKeys() {
  if (window.screentestHeldKeys) return;
  window.screentestHeldKeys = true;
  window.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest?.("input, textarea, select, [contenteditable=true]");
    const isPlain = event.key.length === 1 || event.key === "Enter" || event.key === "Backspace";
    if (event.repeat && isPlain && !isTyping) { event.stopImmediatePropagation(); event.preventDefault(); }
  }, true);
}

function bringIn(item, until) {
  const heading = document.querySelector(`[data-item="${CSS.escape(item)}"]`);
  if (heading) {
    document.querySelector('[data-testid="stMain"]')?.scrollTo({ top: 0 });
    heading.focus({ preventScroll: true });
  } else if (performance.now() < until) {
    requestAnimationFrame(() => bringIn(item, until));
  }
}

export default function ({ data, parentElement }) {
  stopHeldKeys();
  document.documentElement.lang = "en";
  const region = parentElement.querySelector("[role=status]");
  if (data.says !== region.dataset.said || data.item !== region.dataset.item) {
    region.textContent = "";
    requestAnimationFrame(() => { region.textContent = data.says; });
    region.dataset.said = data.says;
  }
  if (data.item !== region.dataset.item) {
    region.dataset.item = data.item;
    bringIn(data.item, performance.now() + WAIT);
  }
}
