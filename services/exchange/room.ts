import { MAX_PAGE_EVENTS } from "./protocol/index.ts";

/** Of what the store is asked for in one page: so many questions. A page that needs more ends there, and the replica asks on. */
const MAX_QUESTIONS = 1_000;
/** What a single line or entity may weigh that comes alone in a page, whatever size of page is asked for. */
const LONE_BYTES = 1_000_000;
/** The same as a multiple of what was asked for: a way that carries little must get on, too. */
const LONE_TIMES = 4;

/** What a page still has room for. Bytes are counted by the lengths of texts, before packing. */
export interface Room {
  readonly events: number;
  readonly bytes: number;
  /** Whether nothing was put in yet. */
  readonly isEmpty: boolean;
  /** Whether the page is so full that nothing more is looked for. */
  readonly isFull: boolean;
  /** Takes this much, if there is room. What comes alone in a page may be larger than was asked for, or it would never come; a single event always may. */
  put(events: number, bytes: number): boolean;
  /** The most bytes that something may have which is put in next. */
  readonly most: number;
  /** A question is put to the store. `false`: it would be one too many. */
  ask(): boolean;
}

export function roomFor({ maxEvents, maxBytes }: { readonly maxEvents: number; readonly maxBytes: number }): Room {
  let [events, bytes, questions, isEmpty] = [maxEvents, maxBytes, MAX_QUESTIONS, true];
  const loneBytes = Math.max(maxBytes, Math.min(LONE_BYTES, LONE_TIMES * maxBytes));
  return {
    get events() {
      return events;
    },
    get bytes() {
      return bytes;
    },
    get isEmpty() {
      return isEmpty;
    },
    get isFull() {
      return events <= 0 || bytes <= 0 || questions <= 0;
    },
    get most() {
      return isEmpty ? loneBytes : bytes;
    },
    put(count, weight) {
      const fits = count <= events && weight <= bytes;
      const mayBeLone = isEmpty && count <= MAX_PAGE_EVENTS && (weight <= loneBytes || count <= 1);
      if (!fits && !mayBeLone) return false;
      events -= count;
      bytes -= weight;
      isEmpty = false;
      return true;
    },
    ask: () => questions-- > 0,
  };
}
