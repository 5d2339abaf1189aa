// Parts that grow old without anything happening, such as the course of a number:
// elements with data-every="30" are loaded again after so many seconds, while
// somebody can see them.
const LOOK_MS = 1_000;
const since = new WeakMap<Element, number>();

window.setInterval(() => {
  if (document.hidden) return;
  const now = performance.now();
  for (const el of document.querySelectorAll("[data-every]")) {
    const every = Number(el.getAttribute("data-every")) * 1_000;
    const last = since.get(el);
    if (last === undefined) since.set(el, now);
    else if (every > 0 && now - last >= every) {
      since.set(el, now);
      el.dispatchEvent(new CustomEvent("refresh"));
    }
  }
}, LOOK_MS);
