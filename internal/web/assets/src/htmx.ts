// htmx as the extension expects to find it.
import htmx from "../vendor/htmx/htmx.esm.min.js";

declare global {
  interface Window {
    htmx: typeof htmx;
  }
}

window.htmx = htmx;
htmx.config.includeIndicatorCSS = false; // an inline style sheet, which the policy forbids
htmx.config.defaultTimeout = 30000;

// htmx looks at every node below what it is given. Lists of hundreds of items have
// nothing for it in them; they are marked with data-plain and left out. What has
// hx- attributes itself must not contain such a list.
document.addEventListener("htmx:before:process", (e) => {
  const root = e.target;
  if (!(root instanceof Element)) return;
  if (root.closest("[data-plain]")) e.preventDefault();
  else if (root.querySelector("[data-plain]")) {
    e.preventDefault();
    for (const child of root.children) (htmx as unknown as { process(el: Element): void }).process(child);
  }
});

export default htmx;
