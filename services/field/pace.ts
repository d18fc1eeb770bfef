import type { Store } from "./store.ts";

/** The size of a frame before anything is known about the link: 8 s at 64 kbit/s, no time on a good link. 500 small events compress to an eighth of it. */
const FIRST_FRAME_BYTES = 64_000;
const MIN_FRAME_BYTES = 256;
/** A frame should take this long on its way, which is long compared with a satellite's round trip. On a link that gets cut: an eighth of the time that the link lived. */
const FRAME_MS = 3_000;
const MIN_FRAME_MS = 250;
const FRAMES_A_LIFE = 8;
/** The aim grows at most by this factor, even if the link has become much better. */
const MAX_GROWTH = 4;
/** At most so many bytes are handed to the network and not taken yet, however good the link is. */
const MAX_FLYING_BYTES = 1_000_000;
/** A link slower than this counts as dead. A frame that does not arrive in time over a link of this speed is halved until it does. */
const MIN_BYTES_PER_S = 1_000;
const META = "link";

/**
 * How much to hand to the network at a time, judged by what the link has carried. It is remembered in the database from one try to the next.
 *
 *   first frame ─ taken ─▶ what the link carries in 3 s, growing fourfold at most ─┐
 *       ▲                      ▲                                                   ├─ cut ─▶ half of the frame that was cut, down to one event
 *       └── next try: as it was left, 64 kB at most ◀──────────────────────────────┘
 */
export interface Pace {
  /** The aim for the next frame. */
  readonly frameBytes: number;
  /** Whether more may be handed over while so many bytes are under way. */
  mayFly(flyingBytes: number): boolean;
  /** Notes how long the answer to a small question took: the time that the way takes for no bytes at all. */
  answered(ms: number): void;
  /** How long bytes may take before the link counts as dead, the answer's own time not included. */
  carryMs(bytes: number): number;
  /**
   * Notes that a frame has arrived; `atMs` and `sentAtMs` are by the same clock. `isArrival`: `false` if the time includes the hub's work (HTTP), which may be
   * slow on a good link: such a time lets frames grow, but not shrink.
   */
  taken(bytes: number, sentAtMs: number, atMs: number, isArrival: boolean): void;
  /** Notes that the link was lost while a frame of so many bytes was under way. */
  cut(bytes: number): void;
  /** Keeps what was learnt for the next try. */
  remember(): void;
}

/** What is remembered: `bytes ms`, the aim for a frame and how long one may take. */
function recall(store: Store): { readonly frameBytes: number; readonly frameMs: number } {
  const [, bytes, ms] = /^(\d+) (\d+)$/.exec(store.meta(META) ?? "") ?? [];
  return { frameBytes: Number(bytes ?? FIRST_FRAME_BYTES), frameMs: Number(ms ?? FRAME_MS) };
}

export function openPace(store: Store, maxFrameBytes: number, now: () => number = () => performance.now()): Pace {
  const remembered = recall(store);
  const clamp = (bytes: number): number => Math.round(Math.min(Math.max(bytes, MIN_FRAME_BYTES), maxFrameBytes));
  const openedMs = now();
  let frameBytes = clamp(Math.min(remembered.frameBytes, FIRST_FRAME_BYTES));
  let { frameMs } = remembered;
  let bytesPerMs: number | null = null;
  let lastTakenMs = 0;
  let roundTripMs = Number.POSITIVE_INFINITY;
  let wasCut = false;
  return {
    get frameBytes() {
      return frameBytes;
    },
    mayFly(flyingBytes) {
      if (flyingBytes === 0) return true;
      return bytesPerMs !== null && flyingBytes + frameBytes <= Math.min(MAX_FLYING_BYTES, 2 * frameMs * bytesPerMs);
    },
    answered(ms) {
      roundTripMs = Math.min(roundTripMs, ms);
    },
    carryMs(bytes) {
      const rate = Math.max(MIN_BYTES_PER_S, (bytesPerMs ?? 0) * 1000 * 0.25);
      return Math.ceil((bytes / rate) * 1000);
    },
    taken(bytes, sentAtMs, atMs, isArrival) {
      // When frames follow each other closely, each has the link to itself from the time that the one before arrived.
      const alone = sentAtMs + (Number.isFinite(roundTripMs) ? roundTripMs : 0);
      bytesPerMs = bytes / Math.max(1, atMs - Math.max(alone, lastTakenMs));
      lastTakenMs = atMs;
      const carried = Math.min(bytesPerMs * frameMs, Math.max(frameBytes, bytes) * MAX_GROWTH);
      frameBytes = clamp(isArrival ? carried : Math.max(carried, frameBytes));
    },
    cut(bytes) {
      wasCut = true;
      frameBytes = clamp(Math.min(frameBytes, bytes / 2));
      frameMs = Math.round(Math.min(Math.max((now() - openedMs) / FRAMES_A_LIFE, MIN_FRAME_MS), FRAME_MS));
    },
    remember() {
      const ms = wasCut ? frameMs : Math.min(frameMs * 2, FRAME_MS);
      if (frameBytes === remembered.frameBytes && ms === remembered.frameMs) return;
      store.transaction(() => store.setMeta(META, `${frameBytes} ${ms}`));
    },
  };
}
