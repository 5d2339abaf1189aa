// The agents page: what filters and pages choose takes the place of the list,
// agents are ticked and worked on together, and one menu serves all agents.
import htmx from "./htmx";
import { open } from "./dialog";

const SEARCH_MS = 180; // without a key until a search is sent
const MAX_IN_ADDRESS = 50; // agents that the address names as ticked

const region = (): HTMLElement | null => document.getElementById("fleet");
const form = (): HTMLFormElement | null => document.querySelector<HTMLFormElement>("#fleet-form");
const boxes = (): HTMLInputElement[] => [...(form()?.querySelectorAll<HTMLInputElement>('input[name="agent"]') ?? [])];

// Only the answer to what was asked last is shown.
let asked = 0;

function visit(url: string, how: "push" | "replace", top = false): void {
  const at = region();
  if (!at) return;
  const mine = ++asked;
  at.setAttribute("aria-busy", "true");
  document.documentElement.dataset.busy = "true";
  const stale = (e: Event) => {
    const ctx = (e as CustomEvent).detail?.ctx;
    if (ctx?.request?.action === url && mine !== asked) e.preventDefault();
  };
  document.addEventListener("htmx:before:swap", stale);
  const done = htmx.ajax("GET", url, {
    target: "#fleet",
    swap: top ? "outerMorph show:#main:top" : "outerMorph",
    push: how === "push" ? url : undefined,
    replace: how === "replace" ? url : undefined,
  } as never) as unknown as Promise<void>;
  void Promise.resolve(done).finally(() => {
    document.removeEventListener("htmx:before:swap", stale);
    if (mine !== asked) return;
    region()?.removeAttribute("aria-busy");
    delete document.documentElement.dataset.busy;
  });
}

// Before the script for all links, which would load the whole page.
document.addEventListener(
  "click",
  (e) => {
    if (!(e.target instanceof Element) || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
    const part = e.target.closest<HTMLAnchorElement>("#fleet a[data-part]");
    if (part) {
      e.preventDefault();
      if (part.hasAttribute("data-clear")) search("");
      visit(part.getAttribute("href") ?? part.href, "push", part.hasAttribute("data-top"));
      return;
    }
    const button = e.target.closest<HTMLAnchorElement>("a[data-actions]");
    if (button && document.getElementById("action-menu")) {
      e.preventDefault();
      actions(button);
    }
  },
  true,
);

function search(text: string): void {
  const field = document.querySelector<HTMLInputElement>("#fleet-q");
  if (field) field.value = text;
}

let typing: number | undefined;

function find(): void {
  clearTimeout(typing);
  typing = undefined;
  const field = document.querySelector<HTMLInputElement>("#fleet-q");
  const at = region()?.dataset.address;
  if (!field || !at) return;
  const url = new URL(at, location.href);
  const text = field.value.trim();
  if ((url.searchParams.get("q") ?? "") === text) return;
  url.searchParams.delete("q");
  url.searchParams.delete("page");
  if (text) url.searchParams.set("q", text);
  visit(url.pathname + url.search, "replace");
}

document.addEventListener("input", (e) => {
  if (!(e.target instanceof HTMLInputElement) || e.target.id !== "fleet-q") return;
  clearTimeout(typing);
  typing = window.setTimeout(find, e.target.value ? SEARCH_MS : 0);
});

// Selection. What is ticked stays ticked while the list is sorted, paged and
// loaded again; another filter begins anew.
const chosen = new Set<string>();
let everything = false;
let filter: string | undefined;
let last: string | undefined; // where a range begins
let restored: string | null | undefined; // what the address names that Back or Forward led to

document.addEventListener("htmx:before:history:restore", (e) => {
  if (!e.defaultPrevented) restored = new URL(location.href).searchParams.get("selected");
});

function begin(): void {
  const f = form();
  if (!f) return;
  if (filter === f.dataset.filter) return;
  const first = filter === undefined;
  forget();
  // The address may name what is ticked.
  const named = restored ?? (first ? new URL(location.href).searchParams.get("selected") : "") ?? "";
  restored = undefined;
  everything = named === "all";
  for (const id of everything ? [] : named.split(",")) if (id) chosen.add(id);
  filter = f.dataset.filter;
}

function forget(): void {
  chosen.clear();
  everything = false;
  last = undefined;
}

function total(): number {
  return everything ? Number(region()?.dataset.total ?? 0) : chosen.size;
}

// paint shows what is ticked.
function paint(): void {
  begin();
  const all = boxes();
  let here = 0;
  for (const box of all) {
    const on = everything || chosen.has(box.value);
    if (box.checked !== on) box.checked = on;
    if (box.disabled !== everything) box.disabled = everything;
    if (on) here++;
  }
  const n = total();
  const bar = document.getElementById("selection");
  if (bar) {
    bar.dataset.count = String(n);
    const number = bar.querySelector("[data-selected]");
    if (number && number.textContent !== String(n)) number.textContent = String(n);
    bar.querySelector("[data-select-page]")?.toggleAttribute("hidden", everything || here === all.length);
    bar.querySelector("[data-select-matching]")?.toggleAttribute("hidden", everything);
  }
  const head = document.querySelector<HTMLInputElement>("input[data-select-all]");
  if (head) {
    head.checked = all.length > 0 && here === all.length;
    head.indeterminate = here > 0 && here < all.length;
  }
  // The browser takes its time for a new address; what was clicked is shown first.
  requestAnimationFrame(() => setTimeout(address));
}

// address keeps the selection in the address, as long as it is short.
function address(): void {
  if (!region()) return;
  const n = total();
  const url = new URL(location.href);
  const before = url.search;
  url.searchParams.delete("selected");
  let query = url.searchParams.toString();
  const named = everything ? "all" : n > 0 && n <= MAX_IN_ADDRESS ? [...chosen].map(encodeURIComponent).join(",") : "";
  if (named) query += (query ? "&" : "") + "selected=" + named;
  const after = query ? "?" + query : "";
  if (decodeURIComponent(before) !== decodeURIComponent(after)) history.replaceState(history.state, "", url.pathname + after);
}

function choose(list: HTMLInputElement[], on: boolean): void {
  for (const box of list) {
    if (on) chosen.add(box.value);
    else chosen.delete(box.value);
  }
  paint();
}

document.addEventListener("click", (e) => {
  if (!(e.target instanceof Element)) return;
  const box = e.target;
  if (box instanceof HTMLInputElement && box.name === "agent" && box.form?.id === "fleet-form") {
    const all = boxes();
    const from = all.findIndex((b) => b.value === last);
    const to = all.indexOf(box);
    const range = e.shiftKey && from >= 0 ? all.slice(Math.min(from, to), Math.max(from, to) + 1) : [box];
    last = box.value;
    choose(range, box.checked);
    return;
  }
  if (box instanceof HTMLInputElement && box.hasAttribute("data-select-all")) {
    everything = false;
    choose(boxes(), box.checked);
    return;
  }
  if (box.closest("[data-select-page]")) choose(boxes(), true);
  else if (box.closest("[data-select-matching]")) {
    everything = true;
    paint();
  } else if (box.closest("[data-select-none]")) {
    forget();
    paint();
  }
});

document.addEventListener("keydown", (e) => {
  if (e.key === "Escape" && total() > 0 && region() && !document.querySelector("dialog[open], :popover-open") && !(e.target as Element).closest("input[type=search]")) {
    forget();
    paint();
  }
});

// The forms of the page open dialogs.
document.addEventListener("submit", (e) => {
  if (!(e.target instanceof HTMLFormElement)) return;
  if (e.target.id === "fleet-search") {
    e.preventDefault();
    find();
    return;
  }
  if (e.target.id !== "fleet-form") return;
  e.preventDefault();
  const by = e.submitter instanceof HTMLButtonElement ? e.submitter : null;
  if (!by || total() === 0) return;
  const query = new URLSearchParams({ action: by.value });
  if (everything) query.set("filter", e.target.dataset.filter ?? "");
  else for (const id of chosen) query.append("agent", id);
  open("/bulk/new?" + query.toString(), by);
});

// actions opens the menu beside the button, with what the agent's state allows.
function actions(button: HTMLAnchorElement): void {
  const menu = document.getElementById("action-menu");
  if (!menu) return;
  const id = button.dataset.actions ?? "";
  const allowed = new Set((button.dataset.status ?? "").split(" ").filter(Boolean));
  for (const item of menu.querySelectorAll<HTMLAnchorElement>("[data-action]")) {
    item.hidden = !allowed.has(item.dataset.action ?? "");
    item.href = button.getAttribute("href") + "/" + item.dataset.action;
  }
  menu.querySelector("[role=separator]")?.toggleAttribute("hidden", allowed.size < 2);
  menu.querySelector("[data-none]")?.toggleAttribute("hidden", allowed.size > 0);
  menu.setAttribute("aria-label", `Actions for ${document.getElementById(`name-${id}`)?.textContent ?? id}`);
  for (const old of document.querySelectorAll("a[popovertarget=action-menu]")) old.removeAttribute("popovertarget");
  button.setAttribute("popovertarget", "action-menu"); // how menus find their button
  if (menu.matches(":popover-open")) menu.hidePopover();
  (menu as HTMLElement & { showPopover(o: { source: HTMLElement }): void }).showPopover({ source: button });
}

// A list that came onto the page shows what is ticked.
document.addEventListener("htmx:after:swap", () => {
  if (!form()) {
    if (!region()) filter = undefined;
    return;
  }
  const address = region()?.dataset.address;
  const field = document.querySelector<HTMLInputElement>("#fleet-q");
  if (address && field && document.activeElement !== field && typing === undefined) field.value = new URL(address, location.href).searchParams.get("q") ?? "";
  paint();
});
if (form()) paint();
