// What the portal says over a live connection, and what is asked of it.

// A value as it is shown. The Go side is view.Cell; a test holds both equal.
export interface Cell {
  t?: string; // text
  s?: string; // status, which colour and icon hang on
  h?: string; // hint
  at?: string; // the time that a <time> element shows
  n?: number; // the value of a <progress> or <meter>, 0 to 1
  l?: string; // where a link leads
}

// The cells of a row that changed; null for what is no more.
export type Change = Record<string, Cell | null>;

export interface Message {
  id?: string; // the place in the stream of events
  event: string;
  data?: unknown;
}

export interface Views {
  rows: Record<string, Change | null>;
}

// A pulse tells the number of the newest event of each type in a room, and under
// "since" from which number on it knows of them all.
export type Pulse = Record<string, number>;

export const VIEW = "view:";
export const PULSE = "pulse:";

// How many view rooms one connection may be in.
export const MAX_VIEWS = 600;

// Something is in every connection, so that it tells where the stream is.
export const BASE = VIEW + PULSE + "agents";

export function parse(text: string): Message | undefined {
  try {
    const m: unknown = JSON.parse(text);
    if (typeof m === "object" && m !== null && typeof (m as Message).event === "string") return m as Message;
  } catch {
    // What can't be read is left out; the next look shows what it said.
  }
  return undefined;
}
