// Parts of a page that are loaded again when something happens in their rooms:
// elements with data-live="agents operation:ID" and hx-trigger="refresh".
// data-live-on names the types of events that matter; without it all do but the
// hot ones, which rows show.
import type { Pulse } from "./protocol";

const GATHER_MS = 250;
const MOST_MS = 4_000;
const CALM_MS = 8_000; // without a refresh, after which the next comes at once again

const hot = new Set([
  "agent:health_update", "instance:changed", "step_completed", "bulk_op:progress", "queue_update", "metrics_update", "log:line",
]);

interface Region {
  rooms: string[];
  on: Set<string> | undefined;
  seen: number; // events up to here are on the page
  timer: number | undefined;
  pause: number;
  last: number; // when it was loaded again
  due: boolean; // it is to be loaded again when the page is seen
}

export class Regions {
  private readonly all = new Map<Element, Region>();

  // add takes note of a region; place is where the stream of events is.
  add(el: Element, place: number | undefined): void {
    const rooms = words(el.getAttribute("data-live"));
    const old = this.all.get(el);
    const on = el.getAttribute("data-live-on");
    if (old) {
      old.rooms = rooms;
      old.on = on === null ? undefined : new Set(words(on));
      return;
    }
    const at = Number(el.closest("[data-live-at]")?.getAttribute("data-live-at") ?? NaN);
    this.all.set(el, {
      rooms,
      on: on === null ? undefined : new Set(words(on)),
      seen: Number.isSafeInteger(at) ? Math.max(at, 0) : (place ?? 0),
      timer: undefined,
      pause: GATHER_MS,
      last: 0,
      due: false,
    });
  }

  prune(): void {
    for (const [el, r] of this.all) {
      if (el.isConnected && el.hasAttribute("data-live")) continue;
      clearTimeout(r.timer);
      this.all.delete(el);
    }
  }

  rooms(): Set<string> {
    const out = new Set<string>();
    for (const r of this.all.values()) for (const room of r.rooms) out.add(room);
    return out;
  }

  // pulse loads the regions again in whose room something happened that they do
  // not show, or may have happened: the portal does not know back to place.
  pulse(room: string, p: Pulse, place = 0): void {
    for (const [el, r] of this.all) {
      if (!r.rooms.includes(room)) continue;
      let newest = 0;
      for (const [type, seq] of Object.entries(p)) {
        if (type === "since" || (r.on ? r.on.has(type) : !hot.has(type))) newest = Math.max(newest, seq);
      }
      const missed = (p.since ?? 0) > Math.max(r.seen, place);
      if (newest <= r.seen && !missed) continue;
      r.seen = Math.max(newest, r.seen, missed ? (p.since ?? 0) : 0);
      this.refresh(el, r);
    }
  }

  // refreshAll loads all regions again, each within spread.
  refreshAll(spread: number): void {
    for (const [el, r] of this.all) this.refresh(el, r, Math.random() * spread);
  }

  // shown does what was put off while the page was hidden.
  shown(): void {
    for (const [el, r] of this.all) if (r.due) this.refresh(el, r, 0);
  }

  // refresh gathers what happens within a while. Where it goes on and on, the
  // whiles grow, so that loading leaves time for everything else.
  private refresh(el: Element, r: Region, delay?: number): void {
    if (document.hidden) r.due = true;
    if (document.hidden || r.timer !== undefined) return;
    const now = performance.now();
    if (now - r.last > CALM_MS) r.pause = GATHER_MS;
    const wait = delay ?? r.pause * (0.75 + Math.random() / 2);
    r.timer = window.setTimeout(() => {
      r.timer = undefined;
      r.due = document.hidden;
      if (document.hidden || !el.isConnected) return;
      r.last = performance.now();
      r.pause = Math.min(r.pause * 2, MOST_MS);
      el.dispatchEvent(new CustomEvent("refresh"));
    }, wait);
  }
}

export function words(s: string | null): string[] {
  return (s ?? "").split(/\s+/).filter((w) => w !== "");
}
