// Keyboard shortcuts. Single keys do nothing while somebody types, while a dialog
// is open, or after they were turned off in the help sheet (WCAG 2.2, 2.1.4).
import { open as openDialog } from "./dialog";
import { go } from "./nav";

const TOGETHER_MS = 1_200; // within which the second key of "g a" has to come
const OFF = "portal.keys";
let first = "";
let timer = 0;

// A browser that keeps nothing refuses all use of its storage; the choice holds for
// the page then.
let chosen: string | null = null;

const off = (): boolean => {
  try {
    return (chosen ?? localStorage.getItem(OFF)) === "off";
  } catch {
    return false;
  }
};

function remember(value: "on" | "off"): void {
  chosen = value;
  try {
    localStorage.setItem(OFF, value);
    chosen = null;
  } catch {
    // as said above
  }
}

function typing(e: KeyboardEvent): boolean {
  const t = e.target;
  if (!(t instanceof HTMLElement)) return false;
  return t.isContentEditable || t.matches('input:not([type="checkbox"], [type="radio"]), textarea, select, [role="menuitem"], [role="listbox"]');
}

const items = () => [...document.querySelectorAll<HTMLElement>("main [data-item]")].filter((i) => i.offsetParent !== null);
const current = () => document.querySelector<HTMLElement>("main [data-item][data-current]");

function step(by: 1 | -1): void {
  const all = items();
  const now = current();
  const inside = document.activeElement?.closest<HTMLElement>("[data-item]");
  const from = all.indexOf(inside ?? now ?? document.body);
  const to = all[Math.max(0, Math.min(all.length - 1, from < 0 ? 0 : from + by))];
  if (!to) return;
  now?.removeAttribute("data-current");
  to.setAttribute("data-current", "");
  to.querySelector<HTMLElement>("a[href]")?.focus({ preventScroll: true });
  to.scrollIntoView({ block: "nearest" });
}

// escape takes back what is open or selected outside of what the browser closes itself.
function escape(): void {
  const selected = document.querySelectorAll<HTMLInputElement>("main [data-item] input[type=checkbox]:checked");
  for (const box of selected) box.click();
  if (selected.length === 0) current()?.removeAttribute("data-current");
}

// leave empties the search, as browsers do, and gives the keys back to the page
// at once: what is typed next is a shortcut.
function leave(field: HTMLInputElement, e: KeyboardEvent): void {
  e.preventDefault();
  if (field.value) {
    field.value = "";
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }
  field.blur();
}

const single: Record<string, () => void> = {
  "/": () => {
    const box = document.querySelector<HTMLElement>("main [data-search]");
    if (box) box.focus();
    else document.querySelector<HTMLElement>("[data-palette]")?.click();
  },
  "?": () => openDialog("/shortcuts", null),
  c: () => document.getElementById("context-panel")?.togglePopover(),
  "[": () => document.querySelector<HTMLButtonElement>("button[name=nav]")?.click(),
  j: () => step(1),
  k: () => step(-1),
  x: () => (current() ?? document.activeElement?.closest("[data-item]"))?.querySelector<HTMLInputElement>("input[type=checkbox]")?.click(),
  ".": () => (current() ?? document.activeElement?.closest("[data-item]"))?.querySelector<HTMLElement>("[aria-haspopup=menu]")?.click(),
};

document.addEventListener("keydown", (e) => {
  if (e.key === "Escape" && e.target instanceof HTMLInputElement && e.target.matches("main [data-search]")) leave(e.target, e);
  if (e.ctrlKey || e.metaKey || e.altKey || e.isComposing || e.defaultPrevented || typing(e)) return;
  if (document.querySelector("dialog:modal")) return;
  if (e.key === "Escape") {
    if (!document.querySelector("[popover]:popover-open")) escape();
    return;
  }
  if (off()) return;
  if (first) {
    const link = document.querySelector<HTMLAnchorElement>(`a[data-keys="${first} ${CSS.escape(e.key)}"]`);
    first = "";
    clearTimeout(timer);
    if (link) {
      e.preventDefault();
      void go(link.href);
      return;
    }
  }
  if (e.key === "g") {
    first = "g";
    timer = window.setTimeout(() => (first = ""), TOGETHER_MS);
    return;
  }
  const act = single[e.key];
  if (!act) return;
  e.preventDefault();
  act();
});

// The switch in the help sheet.
document.addEventListener("change", (e) => {
  const box = e.target;
  if (box instanceof HTMLInputElement && box.dataset.singleKeys !== undefined) remember(box.checked ? "on" : "off");
});

const show = () => {
  for (const box of document.querySelectorAll<HTMLInputElement>("[data-single-keys]")) box.checked = !off();
};
show();
document.addEventListener("htmx:after:swap", show);
