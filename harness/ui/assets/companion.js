// What a page needs beyond drawing: it says aloud what changed, brings eye and focus to what is new, and sees to it that
// a press arrives exactly once. A press is kept until the server has answered it; when the line is lost it is sent again
// once the line is back. The server knows an item by its slot and a showing by its nonce, so that twice counts once.
const WAIT = 1500; // milliseconds for the new item to be drawn
const READ = 600; // before a press that is sent again: the server takes none for an item that nobody can have read
const SLOW = 5000; // without an answer: sent again
const DEAD = 20000; // without an answer on a line that claims to be there: the page is loaded anew, the press is kept
const KEPT = "screentest-kept";
const ABOUT_PAGE = ["u", "s", "h", "enter", "esc"]; // keys that may come before the page is drawn, or a vote has arrived
const page = (window.screentestPage ??= { data: null, shownAt: 0, pending: null, replay: [], given: [] });

const shell = () => document.querySelector("[data-test-connection-state]");
const isOnline = () => navigator.onLine !== false && (shell()?.dataset.testConnectionState ?? "CONNECTED") === "CONNECTED";
const now = () => performance.now();
const nameOf = (button) => [...(button.closest('[class*="st-key-do-"]')?.classList ?? [])].find((c) => c.startsWith("st-key-do-"));
const buttonOf = (name) => document.querySelector(`.st-key-page .${CSS.escape(name)} button`);
const keyOf = (button) => button.querySelector("kbd")?.textContent.trim().toLowerCase();
const buttonFor = (key) => [...document.querySelectorAll('.st-key-page [class*="st-key-do-"] button')].find((b) => keyOf(b) === key);
const isDrawing = () => (shell()?.dataset.testScriptState ?? "notRunning") !== "notRunning"
  || document.querySelector("h1[data-item]")?.dataset.item !== page.data?.item
  || document.querySelector('.st-key-page [class*="st-key-do-"]:not(:has(button))') !== null; // its code is still on its way

function keep() {
  const kept = { item: page.data?.item, given: page.given, pending: page.pending?.name };
  try { sessionStorage.setItem(KEPT, JSON.stringify(kept)); } catch { /* private windows: kept in memory alone */ }
}

function fetchKept(item) {
  let kept = null;
  try { kept = JSON.parse(sessionStorage.getItem(KEPT)); } catch { /* nothing was kept */ }
  return kept?.item === item ? [...kept.given, ...(kept.pending ? [kept.pending] : [])] : [];
}

function press(name) {
  page.pending = { name, item: page.data.item, showing: page.data.showing, heard: page.data.heard, at: now(), sentAt: 0 };
  keep();
  send();
}

function send() {
  const button = buttonOf(page.pending.name);
  if (!button || !isOnline()) return;
  page.pending.sentAt = now();
  page.isOurs = true;
  button.click();
  page.isOurs = false;
}

// A new answer of the server: was the press heard, and what is left to send?
function heard(before, data) {
  const pending = page.pending;
  if (before?.item !== data.item) {
    const isFirst = before === null;
    page.replay = isFirst ? fetchKept(data.item) : [];
    page.pending = null;
    page.given = [];
  } else if (before.showing !== data.showing && pending && data.heard > pending.heard) { // heard, and refused
    page.replay = [];
    page.given = [];
    page.pending = null;
  } else if (before.showing !== data.showing) { // the server was started anew: it knows nothing of this item yet
    page.replay = [...page.given, ...(pending ? [pending.name] : page.replay)];
    page.pending = null;
    page.given = [];
  } else if (pending && data.heard > pending.heard) {
    if (data.given > page.given.length) page.given.push(pending.name);
    page.given = page.given.slice(0, data.given);
    page.pending = null;
  }
  keep();
}

function watch() {
  const line = document.getElementById("line") ?? document.body.appendChild(Object.assign(document.createElement("div"), { id: "line", role: "status" }));
  const { pending } = page, online = isOnline();
  const { saving = "", lost = "", reading = "" } = page.data?.line ?? {};
  const says = online ? (pending && now() - pending.at > SLOW ? lost : pending && now() - pending.at > 250 ? saving : "")
    : pending ? lost : page.data?.showing ? reading : "";
  if (line.textContent !== says) line.textContent = says;
  line.className = says && says !== saving ? "lost" : "";
  if (!online) {
    for (const button of document.querySelectorAll('.st-key-page [class*="st-key-do-"] button:disabled')) {
      if (!button.closest("[class*='st-key-do-undo']")) button.disabled = false; // Streamlit bars presses; we keep them
    }
    return;
  }
  if (pending && now() - Math.max(pending.sentAt, page.shownAt) > (pending.sentAt ? SLOW : READ)) send();
  if (pending && pending.sentAt && now() - pending.at > DEAD && !page.isLoading) {
    page.isLoading = true;
    fetch("_stcore/health", { cache: "no-store" }).then((r) => r.ok && location.reload()).catch(() => {}).finally(() => { page.isLoading = false; });
  }
  if (!pending && page.replay.length && now() - page.shownAt > READ && buttonOf(page.replay[0])) press(page.replay.shift());
  if (!page.asked || page.pending || page.replay.length) return;
  const asked = buttonFor(page.asked);
  if (asked ? asked.disabled && isDrawing() : isDrawing()) return;
  page.asked = "";
  if (asked && !asked.disabled) press(nameOf(asked));
}

function take(event, key, name) {
  event.stopImmediatePropagation();
  event.preventDefault();
  if (name && !page.pending && !page.replay.length) press(name);
  else if (ABOUT_PAGE.includes(key)) page.asked = key; // waits for what is on its way
}

function onClick(event) {
  const button = event.target.closest?.(".st-key-page button");
  const name = button && nameOf(button);
  if (name && !page.isOurs && !button.disabled) take(event, keyOf(button), name);
}

function onKey(event) {
  const isTyping = event.target.closest?.("input, textarea, select, [contenteditable=true]");
  if (isTyping) return;
  const isPlain = event.key.length === 1 || event.key === "Enter" || event.key === "Backspace";
  if (event.repeat && isPlain) {
    event.stopImmediatePropagation();
    event.preventDefault();
  }
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key === "Escape" ? "esc" : event.key.toLowerCase();
  if (key === "enter" && event.target.closest?.("button, a, summary")) return; // presses that
  const wanted = buttonFor(key);
  if (wanted && !wanted.disabled) take(event, key, nameOf(wanted)); // not by a click: a click inside a click is dropped
  else if (ABOUT_PAGE.includes(key) && (page.pending || page.replay.length || isDrawing())) take(event, key);
}

function bringIn(item, until) {
  const heading = document.querySelector(`[data-item="${CSS.escape(item)}"]`);
  if (heading) {
    document.querySelector('[data-testid="stMain"]')?.scrollTo({ top: 0 });
    heading.focus({ preventScroll: true });
  } else if (now() < until) {
    requestAnimationFrame(() => bringIn(item, until));
  }
}

function listen() {
  if (page.isListening) return;
  page.isListening = true;
  window.addEventListener("keydown", onKey, true);
  window.addEventListener("click", onClick, true);
  setInterval(watch, 200);
}

export default function ({ data, parentElement }) {
  listen();
  document.documentElement.lang = data.language ?? "en";
  const region = parentElement.querySelector("[role=status]");
  const before = page.data;
  page.data = data;
  if (before?.item !== data.item || before?.showing !== data.showing) page.shownAt = now();
  heard(before, data);
  if (data.says !== region.dataset.said || data.item !== region.dataset.item) {
    region.textContent = "";
    requestAnimationFrame(() => { region.textContent = data.says; });
    region.dataset.said = data.says;
  }
  if (data.item !== region.dataset.item) {
    region.dataset.item = data.item;
    bringIn(data.item, now() + WAIT);
  } else if (data.given !== before?.given) { // the next criterion is what is to be seen
    requestAnimationFrame(() => document.querySelector(".scale")?.scrollIntoView({ block: "nearest" }));
  }
}
