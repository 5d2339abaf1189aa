// Live pages. What the portal says of rows is written into their cells; parts
// whose structure changed are loaded again; events are passed on to whoever
// listens on the document for "portal:event" (detail: {id, event, data}).
//
//   data-row="agent:ID" with data-cell="state"   cells that follow the portal; only
//                                                rows in sight are asked for
//   data-live="agents" data-live-on="agent:created"   a region; see regions.ts
//   data-live-events="agent:ID"                  events that portal:event is to bring
//   data-live-at="123"                           where the stream of events was when this was made
//   data-live-status                             the sign; see status.ts
//
// "portal:access" on the document says that the access has ended or was changed.
import { Connection, type State } from "./live/connection";
import { type Message, PULSE, type Pulse, VIEW, type Views } from "./live/protocol";
import { Regions, words } from "./live/regions";
import { Rows } from "./live/rows";
import { Status } from "./live/status";
import { keepTimes, refreshTimes } from "./live/times";

const SETTLE_MS = 250; // between two changes of rooms
const HIDDEN_MS = 5_000; // a tab that is hidden for longer gives its connection back
const SPREAD_MS = 1_000; // within which all pages load again what they may have missed

const status = new Status();
const regions = new Regions();
const rows = new Rows(settle);
const connection = new Connection({
  message,
  state: (s: State) => status.set(s),
  poll: () => {
    // Rows are not heard, so that even a list with the same agents is to be sent.
    for (const el of document.querySelectorAll('[hx-get*="have="]')) el.setAttribute("hx-get", el.getAttribute("hx-get")!.replace(/[?&]have=[^&]*$/, ""));
    regions.refreshAll(0);
  },
  refused: () => {
    document.dispatchEvent(new CustomEvent("portal:access"));
    regions.refreshAll(0);
  },
});

function message(m: Message): void {
  switch (m.event) {
    case "view":
      for (const [key, change] of Object.entries((m.data as Views).rows)) {
        if (key.startsWith(PULSE)) regions.pulse(key.slice(PULSE.length), (change ?? {}) as unknown as Pulse, connection.place);
        else rows.change(key, change);
      }
      return;
    case "reset": // events were missed
      regions.refreshAll(SPREAD_MS);
      return;
    case "heartbeat":
    case "subscribed":
      return;
    case "error":
      console.warn("live:", m.data);
      return;
  }
  document.dispatchEvent(new CustomEvent("portal:event", { detail: m }));
}

let settling: number | undefined;

// settle tells the portal what the page needs, once it does not change any more.
function settle(): void {
  if (settling !== undefined) return;
  settling = window.setTimeout(() => {
    settling = undefined;
    rows.prune();
    regions.prune();
    const seen = rows.seen();
    rows.keep(seen);
    const rooms = new Set<string>();
    for (const room of regions.rooms()) rooms.add(VIEW + PULSE + room);
    for (const el of document.querySelectorAll("[data-live-events]")) {
      for (const room of words(el.getAttribute("data-live-events"))) rooms.add(room);
    }
    for (const key of seen) rooms.add(VIEW + key);
    connection.want(rooms);
  }, SETTLE_MS);
}

const marked = "[data-row], [data-live], [data-live-events], [data-live-status]";

// found takes note of what concerns us in a part that came onto the page.
function found(root: Element): void {
  if (root.matches(marked)) mark(root);
  for (const el of root.querySelectorAll(marked)) mark(el);
  refreshTimes(root);
}

function mark(el: Element): void {
  if (el.hasAttribute("data-row")) rows.add(el);
  if (el.hasAttribute("data-live")) regions.add(el, connection.place);
  if (el.hasAttribute("data-live-status")) status.show();
}

function watch(records: MutationRecord[]): void {
  for (const r of records) {
    if (r.type === "attributes") {
      mark(r.target as Element);
      continue;
    }
    const row = (r.target as Element).closest("[data-row]");
    if (row) rows.inside(row);
    for (const n of r.addedNodes) if (n instanceof Element) found(n);
  }
  settle();
}

// made gives where the stream was when the page was made.
function made(): number | undefined {
  const at = document.querySelector("[data-live-at]")?.getAttribute("data-live-at");
  const n = Number(at ?? NaN);
  return Number.isSafeInteger(n) && n >= 0 ? n : undefined;
}

let leaving: number | undefined;

function visibility(): void {
  clearTimeout(leaving);
  if (document.hidden) {
    leaving = window.setTimeout(() => connection.stop(), HIDDEN_MS);
    return;
  }
  connection.start();
  regions.shown();
  refreshTimes();
}

function begin(): void {
  if (!document.querySelector(marked)) {
    // A page for those who are not signed in: it has nothing to be live.
    keepTimes();
    return;
  }
  connection.place = made();
  found(document.body);
  new MutationObserver(watch).observe(document.body, {
    subtree: true, childList: true, attributes: true, attributeFilter: ["data-row", "data-live", "data-live-on", "data-live-events"],
  });
  keepTimes();
  settle();
  // What a page put in place may be older than what was said since, and has times
  // as the server writes them, also in elements that stayed.
  document.addEventListener("htmx:after:swap", (e) => {
    rows.repeatAll();
    refreshTimes(e.target instanceof Element && e.target.isConnected ? e.target : document);
  });
  document.addEventListener("visibilitychange", visibility);
  window.addEventListener("pagehide", () => connection.stop());
  window.addEventListener("pageshow", (e) => {
    if (e.persisted) visibility();
  });
  window.addEventListener("online", () => {
    if (!connection.connected && !document.hidden) {
      connection.stop();
      connection.start();
    }
  });
  visibility();
}

begin();
