// The tail of an agent's output. The page comes with the last lines; here they
// are followed, filtered and kept within bounds. What agents write reaches the page
// as text nodes only.
const MOST = 5_000; // lines on the page, and that wait while it is paused
const MOST_BYTES = 24 << 20; // of texts that are kept for "show all"
const CUT = 2_000; // characters of a line that are shown at first
const AT_ONCE = 400; // lines put on the page in one frame
const HIDDEN_MS = 5_000;

interface Line {
  at: string;
  instance: string;
  stream: string;
  text: string;
  cursor: string;
}

const sequence = /\u001b(?:\[([0-?]*)[ -/]*([@-~])|[\]P^_X][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[ -/]*[0-~]|$)/g;
const unseen = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const colors = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
const levelWord = /^.{0,64}?\b(trace|debug|info|notice|warn|warning|error|err|fatal|panic|critical)\b/i;
const levelOf: Record<string, string> = {
  trace: "debug", debug: "debug", info: "info", notice: "info", warn: "warn", warning: "warn",
  error: "error", err: "error", fatal: "error", panic: "error", critical: "error",
};

// bare is the text without what terminals obey.
function bare(s: string): string {
  return s.replace(sequence, "");
}

// looks follows the colours that a program asks for.
class Looks {
  private readonly on = new Set<string>();
  private color = "";

  get names(): string {
    return [...this.on, this.color].filter((n) => n !== "").map((n) => `a-${n}`).join(" ");
  }

  set(params: string): void {
    const list = params.split(/[;:]/).map(Number);
    for (let i = 0; i < list.length; i++) {
      const n = list[i] ?? 0;
      if (n === 0) {
        this.on.clear();
        this.color = "";
      } else if (n <= 4) this.on.add(["bold", "faint", "italic", "underline"][n - 1] ?? "");
      else if (n === 22) {
        this.on.delete("bold");
        this.on.delete("faint");
      } else if (n === 23) this.on.delete("italic");
      else if (n === 24) this.on.delete("underline");
      else if (n >= 30 && n <= 37) this.color = colors[n - 30] ?? "";
      else if (n >= 90 && n <= 97) this.color = `bright-${colors[n - 90]}`;
      else if (n === 39) this.color = "";
      else if (n === 38 || n === 48) i += list[i + 1] === 5 ? 2 : 4; // one of many: not shown
    }
  }
}

// show makes a text of others a part of the page: its colours are ours, and what
// can't be seen or turns the direction of text is made visible.
export function show(s: string, into: Element): void {
  const looks = new Looks();
  let from = 0;
  for (const m of s.matchAll(sequence)) {
    piece(s.slice(from, m.index), looks.names, into);
    if (m[2] === "m") looks.set(m[1] ?? "");
    from = m.index + m[0].length;
  }
  piece(s.slice(from), looks.names, into);
}

function piece(text: string, name: string, into: Element): void {
  let from = 0;
  const put = (part: string): void => {
    if (part !== "") into.append(name === "" ? part : span(name, part));
  };
  for (const m of text.matchAll(unseen)) {
    put(text.slice(from, m.index));
    const c = m[0].charCodeAt(0);
    const sign = c < 0x20 ? String.fromCharCode(0x2400 + c) : c === 0x7f ? "\u2421" : `U+${c.toString(16).toUpperCase().padStart(4, "0")}`;
    into.append(span("log-mark", sign));
    from = m.index + 1;
  }
  put(text.slice(from));
}

function parse(text: string): { level: string; message: string; fields: string } {
  if (text.startsWith("{") && text.length <= CUT) {
    try {
      const o = JSON.parse(text) as Record<string, unknown>;
      let level = "";
      let message = "";
      const fields: string[] = [];
      for (const [k, v] of Object.entries(o)) {
        const s = typeof v === "string" ? v : JSON.stringify(v);
        if ((k === "msg" || k === "message") && message === "") message = s;
        else if ((k === "level" || k === "severity" || k === "lvl") && level === "") level = levelOf[s.toLowerCase()] ?? "";
        else if (!["time", "ts", "timestamp", "@timestamp"].includes(k)) fields.push(`${k}=${s}`);
      }
      return { level, message, fields: fields.join(" ") };
    } catch {
      // plain text that begins like JSON
    }
  }
  const message = text.slice(0, CUT);
  return { level: levelOf[levelWord.exec(bare(message))?.[1]?.toLowerCase() ?? ""] ?? "", message, fields: "" };
}

class Tail {
  private readonly list: HTMLElement;
  private readonly state: HTMLElement | null;
  private readonly jump: HTMLButtonElement | null;
  private readonly agent: string;
  private readonly url: URL;
  private readonly instances: boolean;
  private after: string;
  private waiting: Line[] = [];
  private dropped = 0;
  private kept = 0; // bytes of texts for "show all"
  private following = true;
  private frame = 0;
  private stopper: AbortController | undefined;
  private again: number | undefined;
  private pause = 1_000;
  private search = "";
  private fresh = false; // what is on the page is to be replaced

  constructor(private readonly root: HTMLElement) {
    this.list = root.querySelector<HTMLElement>("[data-log-lines]")!;
    this.state = root.querySelector("[data-log-state]");
    this.jump = root.querySelector("[data-log-jump]");
    this.agent = root.dataset.logAgent ?? "";
    this.after = root.dataset.logAfter ?? "";
    this.url = new URL(root.dataset.log ?? "", location.origin);
    this.instances = root.querySelector("[data-log-instance]") !== null && !this.url.searchParams.has("instance");
    this.listen();
    // The search and the level that the address named were done by the portal: from
    // here on all lines are on the page and what is not asked for is hidden.
    if (this.field("[data-log-search]")?.value || this.field("[data-log-level]")?.value) {
      this.after = "";
      this.fresh = true;
    }
    this.filter();
    this.bottom();
    this.open();
  }

  private field(name: string): HTMLInputElement | HTMLSelectElement | null {
    return this.root.querySelector(name);
  }

  private listen(): void {
    const form = this.root.querySelector("form");
    form?.addEventListener("submit", (e) => e.preventDefault());
    let typed = 0;
    this.field("[data-log-search]")?.addEventListener("input", () => {
      clearTimeout(typed);
      typed = window.setTimeout(() => this.filter(), 120);
    });
    this.field("[data-log-level]")?.addEventListener("change", () => this.filter());
    this.field("[data-log-instance]")?.addEventListener("change", (e) => {
      const to = new URL(location.href);
      const v = (e.target as HTMLSelectElement).value;
      if (v) to.searchParams.set("instance", v);
      else to.searchParams.delete("instance");
      location.assign(to);
    });
    // Lines that get their height late move the list too: only who means to scroll
    // ends the following.
    let meant = 0;
    for (const name of ["wheel", "touchmove", "pointerdown", "keydown"]) {
      this.list.addEventListener(name, () => (meant = performance.now()), { passive: true });
    }
    this.list.addEventListener("scroll", () => {
      const low = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight;
      if (low < 8) this.follow(true);
      else if (performance.now() - meant < 1_000) this.follow(false);
      else if (this.following) this.bottom();
    }, { passive: true });
    this.root.querySelector("[data-log-follow]")?.addEventListener("click", () => this.follow(!this.following, true));
    this.jump?.addEventListener("click", () => this.follow(true, true));
    this.root.querySelector("[data-log-wrap]")?.addEventListener("click", (e) => {
      const on = this.list.toggleAttribute("data-wrap");
      (e.currentTarget as Element).setAttribute("aria-pressed", String(on));
      if (this.following) this.bottom();
    });
  }

  private follow(on: boolean, asked = false): void {
    if (on === this.following && !asked) return;
    this.following = on;
    this.root.querySelector("[data-log-follow]")?.setAttribute("aria-pressed", String(on));
    if (on) this.plan();
    if (on && asked) this.bottom();
    this.tell();
  }

  private bottom(): void {
    this.list.scrollTop = this.list.scrollHeight;
  }

  // open reads on from the last line that is known.
  private open(): void {
    clearTimeout(this.again);
    this.again = undefined;
    this.stopper?.abort();
    const stopper = (this.stopper = new AbortController());
    const url = new URL(this.url);
    if (this.after) url.searchParams.set("cursor", this.after);
    else {
      url.searchParams.set("tail", "1000");
      this.fresh = true;
    }
    this.read(url, stopper.signal).then(
      () => this.retry(),
      (err: unknown) => {
        if (!stopper.signal.aborted) this.retry(err instanceof Refused ? err : undefined);
      },
    );
  }

  private async read(url: URL, signal: AbortSignal): Promise<void> {
    const answer = await fetch(url, { signal, headers: { Accept: "application/x-ndjson" } });
    if (!answer.ok || !answer.body) throw new Refused(answer.status);
    this.say("");
    this.pause = 1_000;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop() ?? "";
      for (const l of lines) if (l) this.take(JSON.parse(l) as Line);
      this.plan();
    }
  }

  private retry(refused?: Refused): void {
    if (refused?.status === 400 && this.after) {
      this.after = ""; // the output was begun anew
      this.open();
      return;
    }
    if (refused && [401, 403, 404].includes(refused.status)) {
      this.say(refused.status === 404 ? "The agent is gone." : "You may not read this any more.");
      return;
    }
    this.say("Reconnecting …");
    this.again = window.setTimeout(() => this.open(), this.pause * (0.75 + Math.random() / 2));
    this.pause = Math.min(this.pause * 2, 15_000);
  }

  private take(l: Line): void {
    this.after = l.cursor;
    this.waiting.push(l);
    if (this.waiting.length > MOST) {
      this.dropped += this.waiting.length - MOST;
      this.waiting.splice(0, this.waiting.length - MOST);
    }
  }

  private plan(): void {
    if (this.following && this.waiting.length > 0 && this.frame === 0) this.frame = requestAnimationFrame(() => this.draw());
    if (!this.following) this.tell();
  }

  // draw puts waiting lines on the page, the newest of them if there are many.
  private draw(): void {
    this.frame = 0;
    if (!this.following) return;
    const part = document.createDocumentFragment();
    for (const l of this.waiting.splice(0, AT_ONCE)) part.append(this.row(l));
    if (this.fresh) this.list.replaceChildren();
    this.fresh = false;
    this.list.append(part);
    while (this.list.childElementCount > MOST) {
      const oldest = this.list.firstElementChild!;
      this.kept -= Number((oldest as HTMLElement).dataset.kept ?? 0);
      oldest.remove();
    }
    this.bottom();
    this.mark();
    this.tell();
    this.plan();
  }

  private row(l: Line): HTMLElement {
    const { level, message, fields } = parse(l.text);
    const row = document.createElement("div");
    row.className = "log-line";
    row.dataset.stream = l.stream;
    const shown = level || (l.stream === "stderr" ? "warn" : "");
    if (shown) row.dataset.level = shown;
    const at = document.createElement("time");
    at.className = "log-at";
    at.dateTime = l.at;
    at.dataset.absolute = "";
    at.textContent = new Date(l.at).toISOString().slice(11, 23);
    at.title = l.at;
    row.append(at);
    if (this.instances) row.append(span("log-source", l.instance.replace(`${this.agent}-`, "")));
    const text = document.createElement("span");
    text.className = "log-text";
    show(message, text);
    if (fields) {
      const more = document.createElement("span");
      more.className = "log-fields";
      show(fields, more);
      text.append(" ", more);
    }
    row.append(text);
    const left = l.text.length - CUT;
    if (left > 0) this.offerAll(row, text, l.text, left);
    row.hidden = this.search !== "" && !matches(row, this.search);
    return row;
  }

  // offerAll lets a long line be read whole, while there is room to keep it.
  private offerAll(row: HTMLElement, text: HTMLElement, whole: string, left: number): void {
    if (this.kept + whole.length > MOST_BYTES) {
      text.append(" ", span("log-mark", `${left} more characters; download the file to read them`));
      return;
    }
    this.kept += whole.length;
    row.dataset.kept = String(whole.length);
    const all = document.createElement("button");
    all.type = "button";
    all.className = "log-rest";
    all.textContent = `Show all (${left} more characters)`;
    all.addEventListener("click", () => {
      text.replaceChildren();
      show(whole, text);
    });
    text.append(" ", all);
  }

  private filter(): void {
    this.list.dataset.least = this.field("[data-log-level]")?.value ?? "";
    this.search = this.field("[data-log-search]")?.value.trim().toLowerCase() ?? "";
    for (const row of this.list.children) (row as HTMLElement).hidden = this.search !== "" && !matches(row, this.search);
    this.mark();
    if (this.following) this.bottom();
    this.tell();
  }

  // mark colours what was searched for, without a change of the page's elements.
  private mark(): void {
    if (!("highlights" in CSS)) return;
    const found = new Highlight();
    if (this.search) {
      const rows = [...this.list.querySelectorAll(".log-line:not([hidden]) .log-text")].slice(-1_000);
      for (const row of rows) {
        const texts = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);
        for (let node = texts.nextNode(); node; node = texts.nextNode()) {
          const text = node.textContent?.toLowerCase() ?? "";
          for (let i = text.indexOf(this.search); i >= 0; i = text.indexOf(this.search, i + this.search.length)) {
            const r = new Range();
            r.setStart(node, i);
            r.setEnd(node, i + this.search.length);
            found.add(r);
          }
        }
      }
    }
    CSS.highlights.set("log-found", found);
  }

  private note = "";

  private say(note: string): void {
    this.note = note;
    this.tell();
  }

  private tell(): void {
    const n = this.waiting.length;
    if (this.jump) {
      this.jump.hidden = this.following;
      this.jump.textContent = n === 0 ? "Go on following" : n === 1 ? "1 new line" : `${n} new lines`;
    }
    const none = this.root.querySelector<HTMLElement>(".log-none");
    const shown = this.list.querySelectorAll(".log-line:not([hidden])").length;
    if (none) none.hidden = shown > 0;
    if (!this.state) return;
    const parts = [`${shown} of the last ${this.list.childElementCount} lines`];
    if (this.search === "") parts[0] = `${this.list.childElementCount} lines`;
    if (this.dropped > 0) parts.push(`${this.dropped} left out`);
    parts.push(this.note || (this.following ? "following" : "paused"));
    const text = parts.join(" · ");
    if (this.state.textContent !== text) this.state.textContent = text;
  }

  get connected(): boolean {
    return this.root.isConnected;
  }

  // rest gives the connection back; wake takes it up where it was.
  rest(): void {
    clearTimeout(this.again);
    this.again = undefined;
    this.stopper?.abort();
    this.stopper = undefined;
  }

  wake(): void {
    if (!this.stopper) this.open();
  }
}

class Refused extends Error {
  constructor(readonly status: number) {
    super(`status ${status}`);
  }
}

function span(name: string, text: string): HTMLSpanElement {
  const s = document.createElement("span");
  s.className = name;
  s.textContent = text;
  return s;
}

function matches(el: Element, search: string): boolean {
  return el.textContent?.toLowerCase().includes(search) ?? false;
}

let tails: Tail[] = [];
const known = new WeakSet<Element>();

function look(): void {
  tails = tails.filter((t) => {
    if (!t.connected) t.rest();
    return t.connected;
  });
  for (const el of document.querySelectorAll<HTMLElement>("[data-log]")) {
    if (known.has(el)) continue;
    known.add(el);
    tails.push(new Tail(el));
  }
}

let resting: number | undefined;
document.addEventListener("visibilitychange", () => {
  clearTimeout(resting);
  if (document.hidden) resting = window.setTimeout(() => tails.forEach((t) => t.rest()), HIDDEN_MS);
  else tails.forEach((t) => t.wake());
});
window.addEventListener("pagehide", () => tails.forEach((t) => t.rest()));
document.addEventListener("htmx:after:swap", look);
look();
