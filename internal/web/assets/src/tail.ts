// The live tail of the page of all logs. Lines come as events and reach the page
// as text nodes only; the page keeps a bounded number of them.
import { show } from "./logs";

const MOST = 2_000; // lines on the page, and that wait for the next frame
const AT_ONCE = 300; // lines put on the page in one frame
const CUT = 2_000; // characters of a line that are shown

interface Entry {
  at: string;
  agent_id: string;
  instance: string;
  stream: string;
  level?: string;
  text: string;
  raw?: string;
  fields?: Record<string, string>;
  cursor: string;
}

function make(name: string, cls: string, text = ""): HTMLElement {
  const el = document.createElement(name);
  el.className = cls;
  el.textContent = text;
  return el;
}

class LiveTail {
  private readonly list: HTMLElement;
  private readonly state: HTMLElement | null;
  private readonly toggle: HTMLElement | null;
  private source: EventSource | undefined;
  private waiting: Entry[] = [];
  private missed = 0;
  private frame = 0;
  private cursor = "";

  constructor(private readonly root: HTMLElement) {
    this.list = root.querySelector<HTMLElement>("[data-tail-lines]")!;
    this.state = root.querySelector("[data-tail-state]");
    this.toggle = root.querySelector("[data-tail-toggle]");
    this.toggle?.addEventListener("click", () => (this.source ? this.close() : this.open()));
    root.querySelector("[data-tail-wrap]")?.addEventListener("click", (e) => {
      const on = this.list.toggleAttribute("data-wrap");
      (e.currentTarget as Element).setAttribute("aria-pressed", String(on));
    });
    this.list.scrollTop = this.list.scrollHeight;
  }

  get connected(): boolean {
    return this.root.isConnected;
  }

  open(): void {
    const url = new URL(this.root.dataset.tail ?? "", location.origin);
    if (this.cursor) url.searchParams.set("cursor", this.cursor);
    const source = (this.source = new EventSource(url));
    this.toggle?.setAttribute("aria-pressed", "true");
    this.tell("connecting");
    source.addEventListener("open", () => this.tell("following"));
    source.addEventListener("entry", (e) => this.take(JSON.parse((e as MessageEvent<string>).data) as Entry));
    source.addEventListener("missed", (e) => {
      this.missed += (JSON.parse((e as MessageEvent<string>).data) as { count: number }).count;
    });
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) this.close("The portal ended the tail.");
      else this.tell("reconnecting");
    });
  }

  close(note = ""): void {
    this.source?.close();
    this.source = undefined;
    this.toggle?.setAttribute("aria-pressed", "false");
    this.tell(note || "paused");
  }

  private take(e: Entry): void {
    this.cursor = e.cursor;
    this.waiting.push(e);
    if (this.waiting.length > MOST) this.missed += this.waiting.splice(0, this.waiting.length - MOST).length;
    if (this.frame === 0) this.frame = requestAnimationFrame(() => this.draw());
  }

  private draw(): void {
    this.frame = 0;
    const low = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 40;
    const part = document.createDocumentFragment();
    for (const e of this.waiting.splice(0, AT_ONCE)) part.append(this.row(e));
    this.list.append(part);
    while (this.list.childElementCount > MOST) this.list.firstElementChild!.remove();
    if (low) this.list.scrollTop = this.list.scrollHeight;
    this.root.querySelector(".log-none")?.toggleAttribute("hidden", true);
    this.tell("following");
    if (this.waiting.length > 0) this.frame = requestAnimationFrame(() => this.draw());
  }

  private row(e: Entry): HTMLElement {
    const row = make("div", "log-line");
    row.dataset.stream = e.stream;
    if (e.level) row.dataset.level = e.level;
    const link = make("a", "log-at") as HTMLAnchorElement;
    link.href = `/logs/around?${new URLSearchParams({ agent: e.agent_id, instance: e.instance, cursor: e.cursor })}`;
    link.title = "The lines around this one";
    const at = document.createElement("time");
    at.dateTime = e.at;
    at.dataset.absolute = "";
    at.textContent = new Date(e.at).toISOString().slice(5, 23).replace("T", " ");
    link.append(at);
    const agent = make("a", "log-source", e.agent_id) as HTMLAnchorElement;
    agent.href = `/agents/${encodeURIComponent(e.agent_id)}?tab=logs`;
    row.append(link, agent, make("span", "log-source", e.instance.replace(`${e.agent_id}-`, "")));
    const text = make("span", "log-text");
    for (const [i, line] of (e.raw ?? e.text).slice(0, CUT).split("\n").entries()) {
      if (i > 0) text.append(document.createElement("br"));
      show(line, text);
    }
    const fields = Object.entries(e.fields ?? {}).map(([k, v]) => `${k}=${v}`).join(" ");
    if (fields && !e.text.startsWith("{")) {
      const more = make("span", "log-fields");
      show(fields.slice(0, CUT), more);
      text.append(" ", more);
    }
    row.append(text);
    return row;
  }

  private tell(note: string): void {
    if (!this.state) return;
    const parts = [`${this.list.childElementCount} lines`];
    if (this.missed > 0) parts.push(`${this.missed} left out`);
    parts.push(note);
    const text = parts.join(" · ");
    if (this.state.textContent !== text) this.state.textContent = text;
  }
}

let tails: LiveTail[] = [];
const known = new WeakSet<Element>();

function look(): void {
  tails = tails.filter((t) => {
    if (!t.connected) t.close();
    return t.connected;
  });
  for (const el of document.querySelectorAll<HTMLElement>("#all-logs")) {
    if (known.has(el) || !el.querySelector("[data-tail-lines]")) continue;
    known.add(el);
    tails.push(new LiveTail(el));
  }
}

window.addEventListener("pagehide", () => tails.forEach((t) => t.close()));
document.addEventListener("htmx:after:swap", look);
look();
