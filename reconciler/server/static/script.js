// What pages do better with script. Everything works without it, and nothing here knows more than the page says.
"use strict";

const REFRESH_MS = 10_000, PAUSE_MS = 400, LINES_MOST = 2000, PARTS_MS = 3_000;

// Times: "3 min ago" goes on being right.
function duration(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) if (seconds >= 2 * size) return `${Math.round(seconds / size)} ${unit}`;
  return `${Math.max(0, Math.round(seconds))} s`;
}

function refreshTimes() {
  for (const one of document.querySelectorAll("time[datetime][title]")) {
    const passed = (Date.now() - Date.parse(one.dateTime)) / 1000;
    if (!Number.isNaN(passed)) one.textContent = passed >= 0 ? `${duration(passed)} ago` : `in ${duration(-passed)}`;
  }
}

// Keys: / goes to the search box.
function onKey(event) {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, [contenteditable]")) return;
  const box = document.querySelector("[role=search] input");
  if (box) {
    event.preventDefault();
    box.focus();
    box.select();
  }
}

// Chromium scrolls what overflows by keyboard by itself; elsewhere a table that scrolls has to be reachable.
function reachTables() {
  for (const one of document.querySelectorAll("table")) if (one.scrollWidth > one.clientWidth + 1) one.tabIndex = 0;
}

// Danger: asked once more before it is sent.
function onSubmit(event) {
  const button = event.submitter;
  if (button?.matches(".danger") && !window.confirm(button.dataset.confirm || `${button.textContent.trim()}?`)) event.preventDefault();
}

// Filters: sent when typing pauses; the field is gone back to on the page that comes.
function watchFilters() {
  const typed = sessionStorage.getItem("typed");
  sessionStorage.removeItem("typed");
  for (const form of document.querySelectorAll("form.filter, main form[role=search]")) {
    let timer;
    form.addEventListener("input", (event) => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        sessionStorage.setItem("typed", event.target.name);
        form.requestSubmit();
      }, PAUSE_MS);
    });
    form.addEventListener("submit", () => clearTimeout(timer));
    const field = typed && form.elements.namedItem(typed);
    if (field instanceof HTMLInputElement) {
      field.focus();
      if (field.type === "text" || field.type === "search") field.setSelectionRange(field.value.length, field.value.length);
    }
  }
}

// A live run: its .log grows at the end, and badges change where [data-of] says what they are of: run, phase/TENANT/TRACK/NUMBER, or an address.
function badge(of, state) {
  for (const one of document.querySelectorAll(`[data-of="${CSS.escape(of)}"] .state`)) {
    if (one.textContent === state) continue;
    one.textContent = state;
    one.className = "state fresh";
    one.classList.add(state);
  }
}

function addLine(log, line) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const row = document.createElement("li"), head = document.createElement("span");
  head.className = "quiet";
  head.textContent = `${new Date(line.at * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC step ${line.step}`;
  row.className = "fresh";
  row.append(head, " ", line.text);
  log.append(row);
  while (log.childElementCount > LINES_MOST) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

// What else the page says of it ([data-part]: numbers, reasons, buttons) is taken from the page as it is now, but what somebody is filling in.
function inUse(part) {
  const typed = [...part.querySelectorAll("input, select")].some((one) => one.type === "checkbox" ? one.checked !== one.defaultChecked : one.value !== "" && one.type !== "hidden");
  return typed || part.contains(document.activeElement) || part.querySelector("details[open]") !== null;
}

async function refreshParts() {
  const answer = await fetch(location.href, { headers: { "X-By-Itself": "1" } }).catch(() => null);
  if (!answer?.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-part]")) {
    const now = page.querySelector(`[data-part="${CSS.escape(part.dataset.part)}"]`);
    if (now && !inUse(part)) part.replaceChildren(...now.childNodes);
  }
  reachTables();
}

// At once where nothing was refreshed for a while, and never more often than that; what happens meanwhile is refreshed together.
function seldom(act, pause) {
  let timer = null, again = false;
  const go = () => {
    again = false;
    act();
    timer = setTimeout(() => {
      timer = null;
      if (again) go();
    }, pause);
  };
  return () => {
    if (timer === null) go();
    else again = true;
  };
}

function follow(root) {
  const log = root.querySelector(".log"), last = log?.lastElementChild?.dataset.id;
  const source = new EventSource(root.dataset.events + (last ? `?after=${last}` : ""));
  const on = (name, act) => source.addEventListener(name, (event) => act(JSON.parse(event.data)));
  const refresh = seldom(refreshParts, PARTS_MS), often = setInterval(refresh, REFRESH_MS);
  for (const name of ["change", "phase", "run"]) on(name, refresh);
  if (log) {
    log.classList.add("live");
    log.tabIndex = 0;
    log.ariaLive = "polite";
    log.scrollTop = log.scrollHeight;
    on("log", (line) => addLine(log, line));
  }
  on("change", (change) => badge(change.address, change.status));
  on("phase", (phase) => badge(`phase/${phase.tenant}/${phase.track}/${phase.number}`, phase.state));
  on("run", (run) => {
    badge("run", run.state);
    if (!run.endedAt) return;
    source.close();
    clearInterval(often);
    for (const one of root.querySelectorAll("[data-ended]")) one.hidden = false;
  });
}

refreshTimes();
setInterval(refreshTimes, REFRESH_MS);
setInterval(() => document.querySelector("[data-refresh]") && refreshParts(), REFRESH_MS);  // what goes on without a run's events
document.addEventListener("keydown", onKey);
document.addEventListener("submit", onSubmit);
watchFilters();
document.querySelectorAll("[data-events]").forEach(follow);
reachTables();
