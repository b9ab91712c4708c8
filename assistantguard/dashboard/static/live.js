"use strict";
// Fetches the live part of the page again and again, and puts it in place where it has changed. It waits while the page
// is hidden, while the focus or a selection is in that part, and while it is paused; a slow answer is asked for less often.
(() => {
  const live = document.getElementById("live");
  const button = document.getElementById("live-button");
  const time = document.getElementById("live-time");
  const problem = document.getElementById("live-problem");
  const address = new URL(location.href);
  if (address.searchParams.has("done")) {
    address.searchParams.delete("done");
    history.replaceState(null, "", address);
  }
  if (!live || !button) {
    return;
  }
  const source = live.dataset.address;
  const least = 1000 * Number(live.dataset.seconds);
  let shown = "";
  let paused = false;
  let timer = 0;

  const inUse = () => {
    const selection = document.getSelection();
    return (
      document.hidden ||
      live.contains(document.activeElement) ||
      (selection && !selection.isCollapsed && live.contains(selection.anchorNode))
    );
  };
  const say = (text) => {
    if (problem.textContent !== text) {
      problem.textContent = text;
    }
  };
  const show = (text) => {
    const open = [...live.querySelectorAll("details")].map((each) => each.open);
    const places = [...live.querySelectorAll(".scroll")].map((each) => [each.scrollLeft, each.scrollTop]);
    live.replaceChildren(...new DOMParser().parseFromString(text, "text/html").body.childNodes);
    live.querySelectorAll("details").forEach((each, number) => {
      each.open = Boolean(open[number]);
    });
    live.querySelectorAll(".scroll").forEach((each, number) => {
      [each.scrollLeft, each.scrollTop] = places[number] || [0, 0];
    });
  };
  const refresh = async () => {
    let took = 0;
    if (!inUse()) {
      const begun = performance.now();
      try {
        const answer = await fetch(source, { cache: "no-store", headers: { "x-assistantguard-fragment": "live" } });
        if (answer.status === 401) {
          say("The dashboard was started anew: open the link that it printed.");
          return;
        }
        const text = await answer.text();
        if (!answer.ok) {
          say("The figures could not be read; they are asked for again.");
        } else if (!paused && !inUse()) {
          if (text !== shown) {
            show(text);
            shown = text;
          }
          time.textContent = `Updated at ${new Date().toLocaleTimeString()}.`;
          say("");
        }
      } catch {
        say("The dashboard does not answer; it is asked again.");
      }
      took = performance.now() - begun;
    }
    if (!paused) {
      clearTimeout(timer);
      timer = setTimeout(refresh, Math.max(least, 10 * took));
    }
  };

  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on updating" : "Pause updates";
    clearTimeout(timer);
    if (!paused) {
      refresh();
    }
  });
  timer = setTimeout(refresh, least);
})();
