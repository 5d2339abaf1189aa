// One connection to the portal, by WebSocket; where none gets through, by
// server-sent events; where they do not either, by asking every few seconds.
import { BASE, MAX_VIEWS, type Message, parse, VIEW } from "./protocol";

export type State = "connecting" | "live" | "reconnecting" | "polling" | "offline" | "signed-out";

export interface Receiver {
  message(m: Message): void;
  state(s: State): void;
  poll(): void; // nothing gets through: load what is shown
  refused(): void; // the access has ended or was changed
}

type Way = "socket" | "stream" | "poll";

const PATH = "/api/platform/live";
const TRIES = 2; // handshakes that fail while the portal answers otherwise, before another way is taken
const POLL_MS = 5_000;
const UPWARDS_MS = 30_000; // after which a better way is tried again
const FIRST_MS = 500; // the first pause is up to so long, and each further one up to twice as long,
const SOON_MS = 2_000; // up to this in the first half minute of an outage
const LATE_MS = 15_000; // and this later
const OUTAGE_MS = 30_000;
const DEAF_MS = 45_000; // three heart-beats
const URL_LIMIT = 6_000; // proxies refuse longer ones

export class Connection {
  place: number | undefined; // in the stream of events: everything up to here is known
  private way: Way = "socket";
  private socket: WebSocket | undefined;
  private stream: EventSource | undefined;
  private timer: number | undefined;
  private deaf: number | undefined;
  private failures = 0; // in a row
  private blocked = 0; // of these, while the portal answered otherwise
  private lostAt: number | undefined;
  private betterAt = 0;
  private comeBack: number | undefined;
  private wanted = new Set<string>();
  private joined = new Set<string>();
  private running = false;
  private isOpen = false;
  private generation = 0;

  constructor(private readonly to: Receiver) {}

  get connected(): boolean {
    return this.socket?.readyState === WebSocket.OPEN || this.stream?.readyState === EventSource.OPEN;
  }

  // start opens the connection; nothing happens if it is open.
  start(): void {
    if (this.running) return;
    this.running = true;
    this.failures = this.blocked = 0;
    this.lostAt = undefined;
    this.open();
  }

  // stop closes it, without a word to the receiver.
  stop(): void {
    this.running = false;
    this.close();
  }

  // want says which rooms are to be heard.
  want(rooms: Iterable<string>): void {
    this.wanted = new Set(rooms);
    if (this.socket?.readyState === WebSocket.OPEN) this.order();
    else if (this.stream && !same(this.streamed(), this.joined)) this.openStream();
  }

  private open(): void {
    this.close();
    if (this.way !== "socket" && Date.now() >= this.betterAt) {
      this.way = "socket";
      this.blocked = 0;
    }
    if (!navigator.onLine) {
      this.failures++;
      this.to.state("offline");
      this.again();
    } else if (this.way === "socket") this.openSocket();
    else if (this.way === "stream") this.openStream();
    else void this.poll();
  }

  private close(): void {
    this.generation++;
    this.isOpen = false;
    clearTimeout(this.timer);
    clearTimeout(this.deaf);
    this.socket?.close();
    this.stream?.close();
    this.socket = this.stream = undefined;
    this.joined.clear();
  }

  // query names the rooms and where to go on. Events can be caught up with only
  // in rooms that are named here.
  private query(rooms: Iterable<string>): string {
    const q = new URLSearchParams({ rooms: [...rooms].join(",") });
    if (this.place !== undefined) q.set("since", String(this.place));
    return `?${q}`;
  }

  private events(): string[] {
    return [...this.wanted].filter((r) => !r.startsWith(VIEW));
  }

  private openSocket(): void {
    const url = new URL(PATH + this.query([BASE, ...this.events()]), location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = (this.socket = new WebSocket(url));
    const mine = this.generation;
    socket.onopen = () => {
      if (mine !== this.generation) return;
      this.joined = new Set([BASE, ...this.events()]);
      this.opened();
      this.order();
    };
    socket.onmessage = (e) => {
      if (mine === this.generation) this.heard(String(e.data));
    };
    socket.onclose = (e) => {
      if (mine === this.generation) this.lost(e.code === 1008);
    };
  }

  // order tells the portal what changed in the wanted rooms.
  private order(): void {
    const wanted = this.bounded();
    const subscribe = [...wanted].filter((r) => !this.joined.has(r));
    const unsubscribe = [...this.joined].filter((r) => !wanted.has(r));
    if (subscribe.length + unsubscribe.length === 0) return;
    this.socket?.send(JSON.stringify({ subscribe, unsubscribe }));
    this.joined = wanted;
  }

  private bounded(): Set<string> {
    const out = new Set([BASE]);
    let views = 1;
    for (const room of this.wanted) {
      if (!room.startsWith(VIEW) || ++views <= MAX_VIEWS) out.add(room);
    }
    return out;
  }

  // streamed are the wanted rooms that fit in an address: a stream can't be told
  // more later.
  private streamed(): Set<string> {
    const out = new Set<string>();
    let length = 0;
    for (const room of this.bounded()) {
      length += encodeURIComponent(room).length + 3;
      if (length > URL_LIMIT) break;
      out.add(room);
    }
    return out;
  }

  private openStream(): void {
    this.close();
    const rooms = this.streamed();
    const stream = (this.stream = new EventSource(`${PATH}/sse${this.query(rooms)}`));
    const mine = this.generation;
    this.joined = rooms;
    stream.onopen = () => {
      if (mine === this.generation) this.opened();
    };
    const take = (e: Event): void => {
      if (mine === this.generation && e instanceof MessageEvent) this.heard(String(e.data));
    };
    // EventSource tells of named events only under their names.
    for (const name of ["message", "view", "reset", "retry", "error", ...names]) stream.addEventListener(name, take);
    stream.onerror = (e) => {
      if (mine !== this.generation || e instanceof MessageEvent) return;
      this.lost(false);
    };
  }

  private opened(): void {
    this.isOpen = true;
    this.failures = this.blocked = 0;
    this.lostAt = this.comeBack = undefined;
    if (this.way === "socket") this.betterAt = 0;
    this.listen();
    this.to.state("live");
  }

  // listen gives a connection up that is silent for too long. Streams beat in
  // comments, which nobody tells us of; the browser gives them up by itself.
  private listen(): void {
    clearTimeout(this.deaf);
    if (this.socket) this.deaf = window.setTimeout(() => this.lost(false), DEAF_MS);
  }

  private heard(text: string): void {
    this.listen();
    const m = parse(text);
    if (!m) return;
    if (m.event === "retry") {
      this.comeBack = (m.data as { after_ms?: number } | undefined)?.after_ms;
      return;
    }
    this.to.message(m);
    const id = Number(m.id);
    if (m.id !== undefined && Number.isSafeInteger(id)) this.place = m.event === "reset" ? id : Math.max(id, this.place ?? 0);
  }

  private lost(refused: boolean): void {
    const wasOpen = this.isOpen;
    this.close();
    this.failures++;
    this.lostAt ??= Date.now();
    if (refused) this.to.refused();
    if (this.way !== "poll") this.to.state(navigator.onLine ? "reconnecting" : "offline");
    if (wasOpen) this.again();
    else void this.diagnose();
  }

  // diagnose finds out whether the portal is away or only this way is closed.
  private async diagnose(): Promise<void> {
    const mine = this.generation;
    const answer = await probe();
    if (mine !== this.generation || !this.running) return;
    if (answer === "up" && this.blocked + 1 < TRIES) this.blocked++;
    else if (answer === "up" && (await taking())) {
      if (mine !== this.generation || !this.running) return;
      this.way = this.way === "socket" ? "stream" : "poll";
      this.blocked = 0;
      this.betterAt = Date.now() + UPWARDS_MS * (1 + Math.random());
      this.open();
      return;
    }
    if (mine !== this.generation || !this.running) return;
    if (answer === "down" && Date.now() - (this.lostAt ?? 0) > POLL_MS) this.to.state("offline");
    if (answer === "signed-out") this.to.state("signed-out");
    this.again();
  }

  private async poll(): Promise<void> {
    const mine = this.generation;
    const answer = await probe();
    if (mine !== this.generation || !this.running) return;
    if (answer === "up") {
      this.to.state("polling");
      this.to.poll();
    } else this.to.state(answer === "down" ? "offline" : "signed-out");
    this.timer = window.setTimeout(() => this.open(), POLL_MS * (0.8 + 0.4 * Math.random()));
  }

  // again tries once more after a pause: the portal's own wish, or a random
  // one, so that not everybody comes back at the same moment.
  private again(): void {
    const outage = Date.now() - (this.lostAt ?? Date.now());
    const most = Math.min(outage < OUTAGE_MS ? SOON_MS : LATE_MS, FIRST_MS * 2 ** Math.min(this.failures, 10));
    const pause = this.comeBack ?? Math.random() * most;
    this.comeBack = undefined;
    this.timer = window.setTimeout(() => this.open(), pause);
  }
}

// The types of events, which a stream has to ask for by name.
const names = [
  "agent:created", "agent:updated", "agent:deleted", "agent:state_changed", "agent:health_update", "instance:changed",
  "operation:changed", "step_completed", "bulk_op:progress", "queue_update", "dlq_message", "config:changed",
  "auth:signed_in", "auth:token_changed", "auth:user_changed", "auth:session_changed",
  "alert:fired", "alert:resolved", "alert:changed", "webhook:changed", "metrics:refused", "diagnostic:finished", "orphan:removed", "error:recorded", "error:changed",
  "subscribed", "heartbeat",
];

function same(a: Set<string>, b: Set<string>): boolean {
  return a.size === b.size && [...a].every((x) => b.has(x));
}

// taking asks whether the portal takes live connections in: while it starts, and
// when very many come at once, it does not, and then nothing is in the way of them.
// What is asked is no hand-shake, so that it is refused in any case.
async function taking(): Promise<boolean> {
  try {
    const r = await fetch(PATH, { cache: "no-store", signal: AbortSignal.timeout(POLL_MS) });
    return r.status < 500 && r.status !== 429;
  } catch {
    return false;
  }
}

// probe asks whether the portal answers, and still knows us.
async function probe(): Promise<"up" | "down" | "signed-out"> {
  try {
    const r = await fetch("/auth/me", { cache: "no-store", signal: AbortSignal.timeout(POLL_MS) });
    if (r.status === 401 || r.status === 403) return "signed-out";
    return r.status < 500 ? "up" : "down";
  } catch {
    return "down";
  }
}
