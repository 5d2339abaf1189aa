// The editor of specs: a text area with the numbers of its lines, where what is
// wrong is marked. The portal checks the text while it is written.
import htmx from "./htmx";
import { say } from "./toast";

const known = new WeakSet<HTMLFormElement>();
const MAX_FILE = 10 << 20;
const DRAFT = "portal.draft"; // what was sent and is not known to be stored

// draft takes what is kept away, and keeps the new text. A browser that keeps nothing
// refuses all use of its storage; then it is as without it.
function draft(next = ""): string | null {
  try {
    const before = sessionStorage.getItem(DRAFT);
    if (next) sessionStorage.setItem(DRAFT, next);
    else if (before) sessionStorage.removeItem(DRAFT);
    return before;
  } catch {
    return null;
  }
}

interface Draft {
  who: string; // a draft is nobody else's
  at: string; // where the form is sent
  base?: string | undefined;
  text: string;
  reason: string;
}

const user = (): string => document.querySelector<HTMLElement>("[data-user]")?.dataset.user ?? "";

class Editor {
  private readonly area: HTMLTextAreaElement;
  private readonly gutter: HTMLElement;
  private readonly begun: string;
  private lines = 0;
  private sent = false;

  constructor(private readonly form: HTMLFormElement) {
    this.area = form.querySelector<HTMLTextAreaElement>("textarea#spec")!;
    this.gutter = form.querySelector<HTMLElement>(".editor-gutter")!;
    this.begun = this.area.value;
    this.area.addEventListener("input", () => this.number());
    this.area.addEventListener("scroll", () => (this.gutter.scrollTop = this.area.scrollTop), { passive: true });
    form.addEventListener("submit", () => {
      this.sent = true;
      this.keep();
    });
    window.addEventListener("pageshow", (e) => {
      if (e.persisted) this.sent = false; // it was not stored after all
    });
    form.addEventListener("keydown", (e) => {
      if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === "s") {
        e.preventDefault();
        form.querySelector<HTMLButtonElement>("[data-save]")?.click();
      }
    });
    form.addEventListener("change", (e) => {
      const t = e.target;
      if (t instanceof HTMLInputElement && t.matches("[data-open-file]")) void this.open(t);
      if (t instanceof Element && t.matches("[data-recheck]")) this.check();
    });
    this.bring();
    this.number();
    this.mark();
  }

  // keep notes what is sent: the session may be over, or the portal away.
  private keep(): void {
    const d: Draft = { who: user(), at: this.form.action, base: this.field("base")?.value, text: this.area.value, reason: this.field("reason")?.value ?? "" };
    draft(JSON.stringify(d));
  }

  // bring puts back what was sent from here and not stored. An answer of the portal
  // to it has that text already.
  private bring(): void {
    const kept = draft();
    const d = kept ? (JSON.parse(kept) as Draft) : undefined;
    if (!d || d.who !== user() || d.at !== this.form.action || "answer" in this.form.dataset || d.text === this.area.value) return;
    this.area.value = d.text;
    const base = this.field("base");
    if (base && d.base) base.value = d.base; // so that what others stored meanwhile is seen
    const reason = this.field("reason");
    if (reason) reason.value = d.reason;
    say("warning", "What you sent was not saved", "It is in the editor again. Look at it, and save it.");
    setTimeout(() => this.check());
  }

  private field(name: string): HTMLInputElement | null {
    return this.form.querySelector<HTMLInputElement>(`input[name=${name}]`);
  }

  get connected(): boolean {
    return this.form.isConnected;
  }

  get changed(): boolean {
    return this.connected && !this.sent && this.area.value !== this.begun;
  }

  check(): void {
    htmx.trigger(this.area, "check");
  }

  private number(): void {
    const n = this.area.value.split("\n").length;
    if (n !== this.lines) {
      this.lines = n;
      const part = document.createDocumentFragment();
      for (let i = 1; i <= n; i++) {
        const line = document.createElement("span");
        line.textContent = String(i);
        part.append(line);
      }
      this.gutter.replaceChildren(part);
      this.mark();
    }
    this.gutter.scrollTop = this.area.scrollTop;
  }

  // mark shows at the numbers where something is wrong.
  mark(): void {
    for (const el of this.gutter.querySelectorAll(".wrong-here")) el.classList.remove("wrong-here");
    const wrong = this.form.querySelectorAll<HTMLElement>("#check .wrong [data-goto]");
    for (const el of wrong) this.gutter.children[Number(el.dataset.goto) - 1]?.classList.add("wrong-here");
    const bad = this.form.querySelector("#check .notice[data-status=error]") !== null;
    if (bad) this.area.setAttribute("aria-invalid", "true");
    else this.area.removeAttribute("aria-invalid");
  }

  goto(line: number): void {
    const lines = this.area.value.split("\n");
    const from = lines.slice(0, line - 1).reduce((n, l) => n + l.length + 1, 0);
    this.area.focus();
    this.area.setSelectionRange(from, from + (lines[line - 1]?.length ?? 0));
    const height = this.area.scrollHeight / Math.max(1, lines.length);
    this.area.scrollTop = Math.max(0, (line - 6) * height);
  }

  private async open(input: HTMLInputElement): Promise<void> {
    const files = [...(input.files ?? [])].sort((a, b) => a.name.localeCompare(b.name));
    if (files.reduce((n, f) => n + f.size, 0) > MAX_FILE) {
      this.area.setCustomValidity("The files have more than 10 MB.");
      this.area.reportValidity();
      return;
    }
    this.area.setCustomValidity("");
    const texts = await Promise.all(files.map((f) => f.text()));
    this.area.value = texts.map((t) => t.replace(/^\ufeff/, "").trimEnd()).join("\n---\n") + "\n";
    input.value = "";
    this.number();
    this.check();
  }
}

// Who signs out leaves nothing in the browser.
document.addEventListener("submit", (e) => {
  if (e.target instanceof HTMLFormElement && e.target.getAttribute("action") === "/auth/sign-out") draft();
});

let editors: Editor[] = [];

function look(): void {
  here = location.href;
  editors = editors.filter((e) => e.connected);
  for (const form of document.querySelectorAll<HTMLFormElement>("form[data-editor]")) {
    if (known.has(form)) continue;
    known.add(form);
    editors.push(new Editor(form));
  }
  for (const e of editors) e.mark();
  // A page after it, other than the sign-in or a problem, means that it was stored.
  if (editors.length === 0 && !document.querySelector("#page.page-bare, main > .problem")) draft();
}

document.addEventListener("click", (e) => {
  const b = e.target instanceof Element ? e.target.closest<HTMLElement>("[data-goto]") : null;
  if (b) for (const ed of editors) ed.goto(Number(b.dataset.goto));
});

// What was written and not saved is not lost by a click.
const leaving = "Leave without saving what you changed?";

// mayLeave asks whether to go on to another page, where that loses something.
export function mayLeave(): boolean {
  if (!editors.some((ed) => ed.changed)) return true;
  if (!window.confirm(leaving)) return false;
  editors = [];
  return true;
}

document.addEventListener(
  "click",
  (e) => {
    const a = e.target instanceof Element ? e.target.closest("a[href]") : null;
    if (!a || a.matches("[data-dialog], [download], [target]") || mayLeave()) return;
    e.preventDefault();
    e.stopPropagation();
  },
  true,
);
// Back and Forward within the portal load no document, so that the browser does not
// ask. Whoever stays gets the address of the editor back.
let here = location.href;
document.addEventListener("htmx:before:history:restore", (e) => {
  if (mayLeave()) return;
  e.preventDefault();
  history.pushState(history.state, "", here);
});
window.addEventListener("beforeunload", (e) => {
  if (editors.some((ed) => ed.changed)) e.preventDefault();
});
document.addEventListener("htmx:after:swap", look);
look();
