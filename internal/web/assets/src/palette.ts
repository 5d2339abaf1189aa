// The command palette: a combobox whose list is filtered here, with agents and
// actions that the server finds.
import htmx from "./htmx";
import { open as openDialog } from "./dialog";
import { go } from "./nav";
import { look } from "./theme";

// A popover and not a modal dialog, which would have the browser look at every
// element of the page to make it inert, before the first key is taken.
const dialog = document.querySelector<HTMLElement>("#palette");
const input = dialog?.querySelector<HTMLInputElement>("input[role=combobox]");
const WAIT_MS = 120; // between the last key and the question to the server
const KEPT = 6;

type Recent = { href: string; name: string };

function recent(): Recent[] {
  try {
    const list: unknown = JSON.parse(localStorage.getItem("portal.recent") ?? "[]");
    if (!Array.isArray(list)) return [];
    return list.filter((r): r is Recent => typeof r?.name === "string" && typeof r?.href === "string" && r.href.startsWith("/") && !r.href.startsWith("//"));
  } catch {
    return [];
  }
}

function remember(href: string, name: string): void {
  const list = [{ href, name }, ...recent().filter((r) => r.href !== href)].slice(0, KEPT);
  try {
    localStorage.setItem("portal.recent", JSON.stringify(list));
  } catch {
    // full or not allowed: nothing is remembered then
  }
}

if (dialog && input) {
  const list = dialog.querySelector<HTMLElement>("#palette-list")!;
  const hits = dialog.querySelector<HTMLElement>("#palette-hits")!;
  const scope = dialog.querySelector<HTMLElement>("[data-palette-scope]")!;
  const none = dialog.querySelector<HTMLElement>("[data-palette-none]")!;
  const said = dialog.querySelector<HTMLElement>("[data-palette-said]")!;
  const recents = dialog.querySelector<HTMLElement>("[data-palette-recent]")!;
  let agent: { id: string; name: string } | null = null;
  let timer = 0;

  const isOpen = () => dialog.matches(":popover-open");
  const options = () => [...list.querySelectorAll<HTMLElement>('[role="option"]')].filter((o) => !o.hidden && !o.closest("[hidden]"));
  const current = () => list.querySelector<HTMLElement>('[aria-selected="true"]');

  const choose = (o: HTMLElement | undefined) => {
    current()?.setAttribute("aria-selected", "false");
    o?.setAttribute("aria-selected", "true");
    if (o) input.setAttribute("aria-activedescendant", o.id);
    else input.removeAttribute("aria-activedescendant");
  };

  const move = (to: HTMLElement | undefined) => {
    choose(to);
    to?.scrollIntoView({ block: "nearest" });
  };

  const filter = () => {
    const words = input.value.trim().toLowerCase();
    for (const group of list.querySelectorAll<HTMLElement>("[data-palette-fixed]")) {
      let shown = 0;
      for (const o of group.querySelectorAll<HTMLElement>('[role="option"]')) {
        o.hidden = agent !== null || !(o.dataset.name ?? "").toLowerCase().includes(words);
        if (!o.hidden) shown++;
      }
      group.hidden = shown === 0;
    }
    recents.hidden = agent !== null || words !== "" || recents.querySelector('[role="option"]') === null;
  };

  const settle = () => {
    const all = options();
    const now = current();
    if (!now || !all.includes(now)) {
      choose(all[0]);
      if (isOpen()) list.scrollTop = 0; // it lays the page out, and what is opened begins at its top
    }
    none.hidden = all.length > 0;
    said.textContent = all.length === 1 ? "1 result" : `${all.length} results`;
  };

  const ask = () => {
    const q = input.value.trim();
    if (q === "" && agent === null) {
      hits.replaceChildren();
      settle();
      return;
    }
    const query = new URLSearchParams({ q });
    if (agent) query.set("agent", agent.id);
    const done = htmx.ajax("GET", `/find?${query}`, { source: hits, target: "#palette-hits", swap: "innerHTML" } as never) as unknown as Promise<void>;
    void Promise.resolve(done).then(settle);
  };

  const changed = (at: number) => {
    filter();
    settle();
    clearTimeout(timer);
    timer = window.setTimeout(ask, at);
  };

  const narrow = (to: typeof agent) => {
    agent = to;
    scope.hidden = to === null;
    scope.textContent = to?.name ?? "";
    input.value = "";
    hits.replaceChildren();
    changed(0);
  };

  const showRecent = () => {
    for (const o of recents.querySelectorAll('[role="option"]')) o.remove();
    recent().forEach((r, i) => {
      const o = document.createElement("div");
      o.className = "menu-item";
      o.id = `palette-recent-${i}`;
      o.setAttribute("role", "option");
      o.setAttribute("aria-selected", "false");
      o.dataset.href = r.href;
      o.dataset.name = r.name;
      const text = document.createElement("span");
      text.className = "menu-text";
      text.textContent = r.name;
      o.append(text);
      recents.append(o);
    });
  };

  const run = (o: HTMLElement) => {
    const { href, name } = o.dataset;
    const what = o.dataset.do;
    dialog.hidePopover();
    if (what === "theme") look("theme", o.dataset.value ?? "");
    else if (what === "context") document.getElementById("context-panel")?.showPopover();
    else if (href && o.dataset.inDialog !== undefined) openDialog(href, null);
    else if (href) {
      if (name) remember(href, name);
      void go(href);
    }
  };

  const show = () => {
    if (isOpen()) return;
    // Everything is in place before it is shown: to show it and to focus the box each
    // lay the page out, and what is changed between them would do so again.
    showRecent();
    choose(undefined);
    narrow(null);
    dialog.showPopover();
    input.focus();
  };

  // Whoever leaves it with the keyboard is done with it.
  dialog.addEventListener("focusout", (e) => {
    if (e.relatedTarget instanceof Element && !dialog.contains(e.relatedTarget)) dialog.hidePopover();
  });

  input.addEventListener("input", () => changed(WAIT_MS));
  input.addEventListener("keydown", (e) => {
    const all = options();
    const now = current();
    const at = now ? all.indexOf(now) : -1;
    switch (e.key) {
      case "ArrowDown":
        move(all[(at + 1) % all.length]);
        break;
      case "ArrowUp":
        move(all.at(at <= 0 ? -1 : at - 1));
        break;
      case "Enter":
        if (now) run(now);
        break;
      case "ArrowRight":
        if (!now?.dataset.agent || input.selectionStart !== input.value.length) return;
        narrow({ id: now.dataset.agent, name: now.dataset.name ?? now.dataset.agent });
        break;
      case "Backspace":
        if (!agent || input.value !== "") return;
        narrow(null);
        break;
      default:
        return;
    }
    e.preventDefault();
  });
  list.addEventListener("click", (e) => {
    const o = e.target instanceof Element ? e.target.closest<HTMLElement>('[role="option"]') : null;
    if (o) run(o);
  });
  document.addEventListener("click", (e) => {
    const link = e.target instanceof Element ? e.target.closest("[data-palette]") : null;
    if (!link || e.button !== 0 || e.metaKey || e.ctrlKey) return;
    e.preventDefault();
    show();
  });
  document.addEventListener("keydown", (e) => {
    if (e.key.toLowerCase() !== "k" || !(e.ctrlKey || e.metaKey) || e.altKey || e.shiftKey) return;
    e.preventDefault();
    if (isOpen()) dialog.hidePopover();
    else show();
  });
  if (/Mac|iPhone|iPad/.test(navigator.platform)) {
    for (const k of document.querySelectorAll(".search-open kbd")) k.textContent = "⌘ K";
  }
}

// What was opened by a link in the content counts as recent too: agents above all.
document.addEventListener("htmx:after:history:push", () => {
  const name = document.querySelector("main h1")?.textContent?.trim();
  if (name && /^\/(agents|operations|bulk)\/[^/]+$/.test(location.pathname)) remember(location.pathname, name);
});
