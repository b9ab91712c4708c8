"use strict";
(() => {
  const root = document.documentElement;
  const choice = document.getElementById("theme");
  const key = "assistantguard-theme";
  let kept = "system";
  try {
    kept = localStorage.getItem(key) || "system";
  } catch {
    // A page from a file may keep nothing.
  }
  const apply = (theme) => {
    if (theme === "light" || theme === "dark") {
      root.dataset.theme = theme;
    } else {
      delete root.dataset.theme;
    }
  };
  apply(kept);
  if (choice) {
    choice.value = root.dataset.theme || "system";
    choice.parentElement.hidden = false;
    choice.addEventListener("change", () => {
      apply(choice.value);
      try {
        localStorage.setItem(key, choice.value);
      } catch {
        // It holds as long as the page is open.
      }
    });
  }
})();
