// The editor of specs: a text area with the numbers of its lines, where what is
// wrong is marked. The portal checks the text while it is written.
import htmx from "./htmx";

const known = new WeakSet<HTMLFormElement>();
const MAX_FILE = 10 << 20;

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
    form.addEventListener("submit", () => (this.sent = true));
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
    this.number();
    this.mark();
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

let editors: Editor[] = [];

function look(): void {
  editors = editors.filter((e) => e.connected);
  for (const form of document.querySelectorAll<HTMLFormElement>("form[data-editor]")) {
    if (known.has(form)) continue;
    known.add(form);
    editors.push(new Editor(form));
  }
  for (const e of editors) e.mark();
}

document.addEventListener("click", (e) => {
  const b = e.target instanceof Element ? e.target.closest<HTMLElement>("[data-goto]") : null;
  if (b) for (const ed of editors) ed.goto(Number(b.dataset.goto));
});

// What was written and not saved is not lost by a click.
const leaving = "Leave without saving what you changed?";
document.addEventListener(
  "click",
  (e) => {
    const a = e.target instanceof Element ? e.target.closest("a[href]") : null;
    if (!a || a.matches("[data-dialog], [download]") || !editors.some((ed) => ed.changed)) return;
    if (!window.confirm(leaving)) {
      e.preventDefault();
      e.stopPropagation();
    } else {
      editors = [];
    }
  },
  true,
);
window.addEventListener("beforeunload", (e) => {
  if (editors.some((ed) => ed.changed)) e.preventDefault();
});
document.addEventListener("htmx:after:swap", look);
look();
