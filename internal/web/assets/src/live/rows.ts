// Rows on the page whose cells follow what the portal says of them: elements with
// data-row, and in them elements with data-cell.
import type { Cell, Change } from "./protocol";
import { absolute, relative } from "./times";

type Cells = Map<string, Element[]>;

export class Rows {
  private readonly elements = new Map<string, Set<Element>>(); // by key
  private readonly keyOf = new Map<Element, string>();
  private readonly visible = new Set<Element>();
  private readonly cellsOf = new WeakMap<Element, Cells>();
  private readonly known = new Map<string, Map<string, Cell>>(); // what was said last, of rows that are heard
  private readonly waiting = new Map<string, Change | null>();
  private frame = 0;
  private readonly sight: IntersectionObserver;

  constructor(changed: () => void) {
    this.sight = new IntersectionObserver(
      (entries) => {
        for (const e of entries) {
          if (e.isIntersecting) this.visible.add(e.target);
          else this.visible.delete(e.target);
        }
        changed();
      },
      { rootMargin: "200px 0px" },
    );
  }

  // add takes note of a row that came onto the page or got another key.
  add(el: Element): void {
    const key = el.getAttribute("data-row") ?? "";
    if (this.keyOf.get(el) === key) return;
    this.remove(el);
    if (key === "") return;
    this.keyOf.set(el, key);
    let all = this.elements.get(key);
    if (!all) this.elements.set(key, (all = new Set()));
    all.add(el);
    this.sight.observe(el);
    this.repeat(el, key);
  }

  remove(el: Element): void {
    const key = this.keyOf.get(el);
    if (key === undefined) return;
    this.keyOf.delete(el);
    this.visible.delete(el);
    this.sight.unobserve(el);
    const all = this.elements.get(key);
    all?.delete(el);
    if (all?.size === 0) this.elements.delete(key);
  }

  // inside says that something in the row came or went.
  inside(el: Element): void {
    this.cellsOf.delete(el);
  }

  // prune forgets the rows that left the page.
  prune(): void {
    for (const el of [...this.keyOf.keys()]) if (!el.isConnected) this.remove(el);
  }

  // seen gives the keys of the rows in sight.
  seen(): Set<string> {
    const out = new Set<string>();
    for (const el of this.visible) {
      const key = this.keyOf.get(el);
      if (key !== undefined) out.add(key);
    }
    return out;
  }

  // keep forgets what was said of rows that are not heard any more: it grows old.
  keep(keys: Set<string>): void {
    for (const key of this.known.keys()) if (!keys.has(key)) this.known.delete(key);
  }

  // change shows what was said with the next frame; what comes first is overtaken
  // by what comes later.
  change(key: string, change: Change | null): void {
    const known = this.known.get(key) ?? new Map<string, Cell>();
    for (const [name, cell] of Object.entries(change ?? {})) known.set(name, cell ?? {});
    if (change) this.known.set(key, known);
    else this.known.delete(key);
    const before = this.waiting.get(key);
    this.waiting.set(key, change && before ? { ...before, ...change } : change);
    this.frame ||= document.hidden ? window.setTimeout(() => this.flush(), 100) : requestAnimationFrame(() => this.flush());
  }

  // repeat shows again what was said last, after something older was put on the
  // page.
  repeat(el: Element, key = this.keyOf.get(el)): void {
    const known = key === undefined ? undefined : this.known.get(key);
    if (known) for (const [name, cell] of known) this.show(el, name, cell);
  }

  repeatAll(): void {
    for (const el of this.keyOf.keys()) this.repeat(el);
  }

  private flush(): void {
    this.frame = 0;
    for (const [key, change] of this.waiting) {
      for (const el of this.elements.get(key) ?? []) {
        el.toggleAttribute("data-gone", change === null);
        for (const [name, cell] of Object.entries(change ?? {})) this.show(el, name, cell ?? {});
      }
    }
    this.waiting.clear();
  }

  private show(row: Element, name: string, cell: Cell): void {
    if (cell.t && !this.cells(row).has(name)) this.fill(row, name);
    for (const el of this.cells(row).get(name) ?? []) write(el, cell);
  }

  // fill puts in place what most rows do not need: the content of the template
  // that an element with data-fill names, if the cell is in it.
  private fill(row: Element, name: string): void {
    for (const el of row.querySelectorAll("[data-fill]")) {
      const part = document.getElementById(el.getAttribute("data-fill") ?? "");
      if (!(part instanceof HTMLTemplateElement) || !part.content.querySelector(`[data-cell="${CSS.escape(name)}"]`)) continue;
      el.removeAttribute("data-fill");
      el.append(part.content.cloneNode(true));
      this.inside(row);
      // What was said of its other cells had no place until now.
      for (const [other, said] of this.known.get(this.keyOf.get(row) ?? "") ?? []) if (other !== name) this.show(row, other, said);
    }
  }

  private cells(row: Element): Cells {
    let cells = this.cellsOf.get(row);
    if (!cells) {
      cells = new Map();
      for (const el of [row, ...row.querySelectorAll("[data-cell]")]) {
        const name = el.getAttribute("data-cell");
        if (name === null || (el !== row && el.closest("[data-row]") !== row)) continue;
        const list = cells.get(name);
        if (list) list.push(el);
        else cells.set(name, [el]);
      }
      this.cellsOf.set(row, cells);
    }
    return cells;
  }
}

// write makes the element show the cell, and touches only what differs.
function write(el: Element, cell: Cell): void {
  const changed = attribute(el, "data-status", cell.s);
  attribute(el, "title", cell.h ?? (cell.at && absolute(cell.at)));
  if (el instanceof HTMLProgressElement || el instanceof HTMLMeterElement) {
    attribute(el, "value", cell.n === undefined ? undefined : String(cell.n));
    return;
  }
  if (el.getAttribute("data-cell") === "actions") {
    allow(el, cell.s ?? "");
    return;
  }
  if (el instanceof HTMLTimeElement) {
    attribute(el, "datetime", cell.at);
    text(el, cell.at ? relative(cell.at) : (cell.t ?? ""));
    return;
  }
  if (el instanceof HTMLAnchorElement) attribute(el, "href", cell.l?.startsWith("/") && !cell.l.startsWith("//") ? cell.l : undefined);
  const said = el.getAttribute("aria-hidden") !== "true" && text(el, cell.t ?? "");
  // The animation of a change starts again when the attribute gets another value.
  if (changed || said) el.setAttribute("data-changed", el.getAttribute("data-changed") === "a" ? "b" : "a");
}

// allow enables the buttons of the actions that the status names.
function allow(el: Element, status: string): void {
  const allowed = new Set(status.split(" "));
  for (const b of el.querySelectorAll("button[data-action]")) {
    if (b instanceof HTMLButtonElement) b.disabled = !allowed.has(b.dataset.action ?? "");
  }
}

function attribute(el: Element, name: string, value: string | undefined): boolean {
  if ((el.getAttribute(name) ?? undefined) === value) return false;
  if (value === undefined) el.removeAttribute(name);
  else el.setAttribute(name, value);
  return true;
}

// text changes the text in place: new nodes would have to be looked through for
// rows.
export function text(el: Element, value: string): boolean {
  const only = el.firstChild;
  if (only instanceof Text && only === el.lastChild) {
    if (only.data === value) return false;
    only.data = value;
    return true;
  }
  if (el.textContent === value) return false;
  el.textContent = value;
  return true;
}
