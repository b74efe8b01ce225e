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
    if (!answer.ok || busy()) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    main.replaceChildren(...page.querySelector("main").children);
    document.getElementById("asof").textContent = page.getElementById("asof").textContent;
  }
  setInterval(() => look().catch(() => {
    document.getElementById("asof").textContent = "The daemon does not answer; it is asked again.";
  }), seconds * 1000);
}

if (main.dataset.refresh) refreshing(Number(main.dataset.refresh));
