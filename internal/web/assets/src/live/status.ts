// The sign that says whether the page is live: elements with data-live-status. Their
// data-live-state is the state, a child with data-live-text says it in words, and
// one with data-live-announce tells screen readers of longer outages only.
import type { State } from "./connection";
import { text } from "./rows";

const said: Record<State, [short: string, long: string]> = {
  connecting: ["Connecting", "Connecting to the portal"],
  live: ["Live", "Changes appear by themselves"],
  reconnecting: ["Reconnecting", "The connection to the portal was lost; trying again"],
  polling: ["Every 5 s", "Your network lets no live connection through; the page asks every 5 seconds"],
  offline: ["Offline", "The portal can't be reached; what you see may be old"],
  "signed-out": ["Signed out", "Your access has ended; sign in again"],
};
const SETTLE_MS = 1_500; // shorter interruptions are not worth a word
const ANNOUNCE_MS = 5_000;

export class Status {
  private state: State = "connecting";
  private timer: number | undefined;
  private announced: State = "live";
  private speaker: number | undefined;

  set(state: State): void {
    if (state === this.state) return;
    const first = this.state === "connecting";
    this.state = state;
    clearTimeout(this.timer);
    clearTimeout(this.speaker);
    this.timer = window.setTimeout(() => this.show(), state === "live" || first ? 0 : SETTLE_MS);
    this.speaker = window.setTimeout(() => this.announce(), ANNOUNCE_MS);
  }

  // show writes the state, also into signs that have come since.
  show(): void {
    const [short, long] = said[this.state];
    for (const el of document.querySelectorAll("[data-live-status]")) {
      if (el.getAttribute("data-live-state") === this.state) continue;
      el.setAttribute("data-live-state", this.state);
      el.setAttribute("title", long);
      const words = el.querySelector("[data-live-text]");
      if (words) text(words, short);
    }
  }

  private announce(): void {
    if (this.state === this.announced || (this.state === "reconnecting" && this.announced === "offline")) return;
    this.announced = this.state;
    for (const el of document.querySelectorAll("[data-live-announce]")) {
      text(el, this.state === "live" ? "Live again" : said[this.state][1]);
    }
  }
}
