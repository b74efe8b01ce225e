// What the console does beyond plain pages: a page that looks again by itself, and the live tail. Everything works without it.
"use strict";

const main = document.querySelector("main");

function refreshing(seconds) {
  let paused = false;
  const button = document.createElement("button");
  button.type = "button";
  const said = () => { button.textContent = paused ? "Update by itself" : "Stop updating"; };
  said();
  button.addEventListener("click", () => { paused = !paused; said(); });
  document.getElementById("asof").after(" ", button);
  const busy = () => paused || document.hidden || main.contains(document.activeElement) && document.activeElement !== main
    || !document.getSelection().isCollapsed;
  async function look() {
    if (busy()) return;
    const url = new URL(location.href);
    url.searchParams.delete("said");
    const answer = await fetch(url, { headers: { accept: "text/html" } });
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (busy()) return;
    main.replaceChildren(...page.querySelector("main").children);
    document.getElementById("asof").textContent = page.getElementById("asof").textContent;
  }
  setInterval(() => look().catch(() => {
    document.getElementById("asof").textContent = "The daemon does not answer; it is asked again.";
  }), seconds * 1000);
}

if (main.dataset.refresh) refreshing(Number(main.dataset.refresh));

// The live tail: JSON Lines read as they come; only the last rows are kept, drawn at most once a frame.
const MOST_ROWS = 200;
const SHAPES = { applied: "\u25cf", accepted: "\u25cb", extended: "\u25cb", filtered: "\u25cb", repeated: "\u25cb", parked: "\u25d0", dead: "\u25a0" };
const KINDS = { applied: "well", parked: "warn", dead: "bad" };

function cell(label, ...parts) {
  const made = document.createElement("td");
  made.setAttribute("role", "cell");
  made.dataset.label = label;
  made.append(...parts);
  return made;
}

function row(line, table) {
  const { event } = line, made = document.createElement("tr");
  made.setAttribute("role", "row");
  const state = document.createElement("span"), mark = document.createElement("span");
  state.className = `state ${KINDS[line.stage] || "calm"}`;
  mark.className = "mark";
  mark.setAttribute("aria-hidden", "true");
  mark.textContent = SHAPES[line.stage] || "\u25cb";
  state.append(mark, ` ${line.stage}`);
  const link = document.createElement("a"), code = document.createElement("code");
  link.href = `${table.dataset.event}?${new URLSearchParams({ id: event.id, source: event.source })}`;
  code.textContent = event.id;
  link.append(code);
  const detail = line.detail ? [" ", Object.assign(document.createElement("code"), { textContent: line.detail })] : [];
  made.append(cell("Time", line.time.slice(11, 23).replace("Z", "")), cell("Stage", state, ...detail),
    cell("Type", event.type || "\u2013"), cell("Source", event.source), cell("Event", event.id ? link : "\u2013"));
  return made;
}

async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

function tailing(table) {
  const body = table.tBodies[0], said = document.getElementById("tailing"), button = document.createElement("button");
  let waiting = [], drawn = false, lost = 0, held = false, news = "";
  const word = document.createElement("span");
  button.type = "button";
  button.textContent = "Hold";
  button.addEventListener("click", () => { held = !held; button.textContent = held ? "Go on" : "Hold"; draw(); });
  said.replaceChildren(word, " ", button);
  const tell = (text) => {
    news = text;
    word.textContent = text + (lost ? ` ${lost} were too quick to show.` : "");
  };
  function draw() {
    drawn = false;
    if (held) return;
    const rows = waiting.splice(0).slice(-MOST_ROWS).map((line) => row(line, table)).reverse();
    body.prepend(...rows);
    while (body.rows.length > MOST_ROWS) body.lastElementChild.remove();
    document.getElementById("nothing")?.remove();
    if (lost) tell(news);
  }
  async function follow() {
    const answer = await fetch(table.dataset.stream);
    if (!answer.ok) throw new Error(String(answer.status));
    tell("Live, redacted; the newest first.");
    for await (const line of lines(answer)) {
      if (line.type !== "event") continue;
      waiting.push(line);
      if (waiting.length > MOST_ROWS) lost += waiting.splice(0, waiting.length - MOST_ROWS).length;
      if (line.lost) lost += line.lost;
      if (!drawn) { drawn = true; requestAnimationFrame(draw); }
    }
  }
  const again = () => follow().catch(() => undefined).finally(() => {
    tell("The daemon does not answer; it is asked again.");
    setTimeout(again, 2000);
  });
  again();
}

const table = document.getElementById("tail");
if (table) tailing(table);
