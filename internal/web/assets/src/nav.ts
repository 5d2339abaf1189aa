// Links inside the portal replace the page's content instead of loading a new
// document, so that a click is answered at once and the live connection stays.
import { mayLeave } from "./editor";
import htmx from "./htmx";

function plainClick(e: MouseEvent): boolean {
  return e.button === 0 && !e.defaultPrevented && !e.metaKey && !e.ctrlKey && !e.shiftKey && !e.altKey;
}

function inside(a: HTMLAnchorElement): boolean {
  return (
    a.origin === location.origin &&
    !a.hasAttribute("download") &&
    !a.hasAttribute("data-dialog") &&
    !a.hasAttribute("data-palette") &&
    a.target === "" &&
    !a.closest("[data-full-load]") &&
    !(a.hash !== "" && a.pathname === location.pathname && a.search === location.search)
  );
}

// showTab scrolls a row of tabs that is wider than the screen to the current one.
function showTab(): void {
  for (const tab of document.querySelectorAll<HTMLElement>('.tabs [aria-current="page"]')) {
    const row = tab.closest<HTMLElement>(".tabs");
    if (!row || row.scrollWidth <= row.clientWidth) continue;
    const at = tab.getBoundingClientRect();
    const frame = row.getBoundingClientRect();
    row.scrollLeft += at.left - frame.left - (frame.width - at.width) / 2;
  }
}

showTab();
window.addEventListener("resize", () => requestAnimationFrame(showTab));

// go shows the address in place. The answer is a whole page, of which the part
// that changes is taken.
export function go(url: string, how: "push" | "replace" = "push"): Promise<void> {
  if (!mayLeave()) return Promise.resolve();
  document.documentElement.dataset.busy = "true";
  const done = htmx.ajax("GET", url, {
    target: "#page",
    select: "#page",
    swap: "outerHTML show:window:top",
    push: how === "push" ? url : undefined,
    replace: how === "replace" ? url : undefined,
  } as never) as unknown as Promise<void>;
  return Promise.resolve(done).finally(() => {
    delete document.documentElement.dataset.busy;
    showTab();
    const main = document.getElementById("main");
    if (main && document.activeElement === document.body) main.focus({ preventScroll: true });
  });
}

document.addEventListener("click", (e) => {
  if (!(e.target instanceof Element) || !plainClick(e)) return;
  const a = e.target.closest("a[href]");
  if (!(a instanceof HTMLAnchorElement) || !inside(a)) return;
  e.preventDefault();
  void go(a.href);
});

// What had the focus may be gone from a part that was loaded again; then the keys
// go on in the page's content and not at its very beginning.
let inMain = false;
document.addEventListener("htmx:before:swap", () => {
  inMain = document.getElementById("main")?.contains(document.activeElement) ?? false;
});
document.addEventListener("htmx:after:swap", () => {
  if (inMain && document.activeElement === document.body) document.getElementById("main")?.focus({ preventScroll: true });
});

// A form that the browser sends itself is sent once, however often its button is
// clicked, and the button says that it waits.
const ONCE_MS = 10_000; // then it may be tried again
const rest = () => {
  for (const b of document.querySelectorAll("form[data-sent]")) {
    b.removeAttribute("data-sent");
    for (const busy of b.querySelectorAll('[type="submit"][aria-busy]')) busy.removeAttribute("aria-busy");
  }
};
// On the window, because what scripts send themselves is told apart on the document.
window.addEventListener("submit", (e) => {
  const form = e.target;
  if (e.defaultPrevented || !(form instanceof HTMLFormElement) || form.method !== "post") return;
  if (form.hasAttribute("data-sent")) {
    e.preventDefault();
    return;
  }
  form.setAttribute("data-sent", "");
  e.submitter?.setAttribute("aria-busy", "true");
  setTimeout(rest, ONCE_MS);
});
window.addEventListener("pageshow", rest);
