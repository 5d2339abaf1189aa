// How long ago: <time datetime="…"> elements are written anew as time goes by,
// except those with data-absolute.
import { text } from "./rows";

const EVERY_MS = 5_000;
const words = new Intl.RelativeTimeFormat("en", { style: "narrow", numeric: "always" });
const full = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium" });
const steps: [limit: number, unit: Intl.RelativeTimeFormatUnit, seconds: number][] = [
  [60, "second", 1],
  [3600, "minute", 60],
  [86_400, "hour", 3600],
  [86_400 * 60, "day", 86_400],
  [86_400 * 730, "month", 86_400 * 30.44],
  [Infinity, "year", 86_400 * 365.25],
];

// relative says how far the time is from now: "5 min ago".
export function relative(datetime: string, now = Date.now()): string {
  const s = (Date.parse(datetime) - now) / 1000;
  if (Number.isNaN(s)) return "";
  if (Math.abs(s) < 5) return "just now"; // clocks differ a little
  for (const [limit, unit, seconds] of steps) {
    if (Math.abs(s) < limit) return words.format(Math.trunc(s / seconds), unit);
  }
  return "";
}

// absolute is the time as the reader's clock shows it.
export function absolute(datetime: string): string {
  const at = Date.parse(datetime);
  return Number.isNaN(at) ? "" : full.format(at);
}

export function refreshTimes(within: ParentNode = document): void {
  const now = Date.now();
  for (const el of within.querySelectorAll<HTMLTimeElement>("time[datetime]:not([data-absolute])")) {
    const said = relative(el.dateTime, now);
    if (said === "") continue;
    text(el, said);
    if (!el.title) el.title = absolute(el.dateTime);
  }
}

export function keepTimes(): void {
  refreshTimes();
  window.setInterval(() => {
    if (!document.hidden) refreshTimes();
  }, EVERY_MS);
}
