import { setTimeout as sleep } from "node:timers/promises";
import { type Incarnation, messageOf, type Position, type PublicKey, positionFromText, type Signer } from "../core/index.ts";
import type { PartCheck, PartState } from "../ingress/index.ts";
import {
  type AnchorComparison,
  anchorText,
  beginIncarnation,
  compareWithAnchor,
  currentIncarnation,
  followHeads,
  type Heads,
  headsOf,
  incarnations,
  keyFactsOf,
  type Log,
  signAnchor,
} from "../log/index.ts";
import { type AnchorLocation, type AnchorMemory, locationProblem, readAnchor } from "./anchor-location.ts";

/** The anchor is written at most this often; a log that is set back may hide what came since the last writing. */
export const ANCHOR_EVERY_MS = 10_000;
/** After each try the hub rests at least this many times as long as the try took, so that slow storage does not keep it busy. */
const REST = 20;
/** When the hub ends, it waits at most this long for the last write. */
const LAST_WORDS_MS = 3_000;

export interface AnchorDeps {
  readonly log: Log;
  readonly location: AnchorLocation;
  readonly memory: AnchorMemory;
  /** The hub's public keys: an anchor that none of them signed is not believed. */
  readonly hubKeys: () => readonly PublicKey[];
}

/** What was found at a start. `gone`: there is no anchor any more; `none`: there is none yet. */
export type AnchorFound =
  | {
      readonly kind: "compared";
      readonly comparison: AnchorComparison;
      readonly heads: Heads;
      readonly position: Position | null;
      /** Why the location could not be remembered as one that has held an anchor; `null`: it is remembered. */
      readonly unnoted: string | null;
    }
  | { readonly kind: "disbelieved"; readonly says: string }
  | { readonly kind: "unreachable"; readonly says: string }
  | { readonly kind: "gone"; readonly says: string }
  | { readonly kind: "none" };

const goneFrom = ({ name }: AnchorLocation): string =>
  `there is no anchor at ${name} any more, where this hub has kept one: perhaps its disk is not mounted, or somebody removed it. To begin a new anchor there: \`tributary restore --confirm --anchor ${name}\``;

/** Remembers that the location has held an anchor. If that fails, as on a full disk, returns a warning; the anchor itself still works. */
function noted(memory: AnchorMemory, { name }: AnchorLocation): string | null {
  try {
    memory.noteHeld();
    return null;
  } catch (error) {
    return `the hub cannot note that ${name} holds its anchor, so it would not notice if the anchor went missing there: ${messageOf(error)}`;
  }
}

/**
 * Compares the log with its anchor. Where the log was set back or replaced and nobody has said so, begins a new incarnation: from then on the log is treated
 * as one that was set back. This happens once: an incarnation that was begun for it is not begun again.
 */
export async function checkAnchor({ log, location, memory, hubKeys }: AnchorDeps, by: string): Promise<AnchorFound> {
  let found: Awaited<ReturnType<typeof readAnchor>>;
  try {
    found = await readAnchor(location, hubKeys());
  } catch (error) {
    return { kind: "unreachable", says: locationProblem(error) };
  }
  if (found === null) return memory.hasHeld() ? { kind: "gone", says: goneFrom(location) } : { kind: "none" };
  if ("problem" in found)
    return { kind: "disbelieved", says: `the anchor at ${location.name} cannot be believed: ${found.problem}` };
  const unnoted = noted(memory, location);
  const { anchor } = found;
  // A log without an incarnation begins its first one here, which is not the anchor's.
  const present = await currentIncarnation(log.journal);
  const comparison = await compareWithAnchor(log, anchor);
  if (comparison.state === "set-back" || comparison.state === "replaced")
    await beginIncarnation(log.journal, present.id, {
      how: "detected",
      by,
      note: comparison.says,
      ...(anchor.position === null ? {} : { seenEnd: anchor.position }),
    });
  const position = anchor.position === null ? null : positionFromText(anchor.position);
  return { kind: "compared", comparison, heads: headsOf(anchor), position, unnoted };
}

export interface AnchorKeeper {
  /** For `/readyz`. */
  readonly part: PartCheck;
  close(): Promise<void>;
}

export interface KeeperOptions extends AnchorDeps {
  readonly signer: () => Signer | null;
  readonly say: (event: Record<string, unknown>) => void;
  readonly everyMs?: number;
  readonly now?: () => number;
}

/** What is known of the log, and what was written last. */
interface Following {
  readonly heads: Heads;
  readonly life: Incarnation;
  position: Position | null;
  written: string | null;
}

/**
 * Keeps the log's end at a location outside the hub's data folder:
 *
 *   unread ── read, compared ─▶ following ── something is new ─▶ written ─▶ following …
 *     │  ▲                         └ the log does not continue as it was known, or the anchor is gone ─▶ unread
 *     │  └─ cannot be reached, or is gone: a warning; tried again. Nothing is written there until it is back, or is confirmed (`restore --confirm --anchor`)
 *     └── set back, replaced, or the anchor cannot be believed ─▶ held: a warning; what was kept stays as evidence ── confirmed (`restore --confirm`) ─▶ following
 *
 * Whatever fails here is a warning: it never stops the hub.
 * Long because its functions are the steps of one state machine, drawn above; each is short.
 */
export async function keepAnchor(options: KeeperOptions): Promise<AnchorKeeper> {
  const { log, location, memory, say, everyMs = ANCHOR_EVERY_MS, now = Date.now } = options;
  let following: Following | null = null;
  let warning: string | null = "the anchor has not been read yet";
  let writtenAtMs: number | null = null;
  const stop = new AbortController();
  let whileRunning: AbortSignal | undefined = stop.signal;

  const warn = (says: string | null): void => {
    if (says !== warning && says !== null) say({ event: "anchor-warning", place: location.name, message: says });
    warning = says;
  };
  const begin = async (): Promise<void> => {
    const found = await checkAnchor(options, "ingress");
    if (found.kind === "unreachable" || found.kind === "disbelieved" || found.kind === "gone") return warn(found.says);
    const life = await currentIncarnation(log.journal);
    // After a restore, the log's heads are counted again from the start.
    const isSame = found.kind === "compared" && found.comparison.state === "holds";
    if (found.kind === "compared" && !isSame && !life.isConfirmed) return warn(found.comparison.says);
    if (found.kind === "none") say({ event: "anchor-begun", place: location.name });
    following = isSame
      ? { heads: found.heads, life, position: found.position, written: null }
      : { heads: new Map(), life, position: null, written: null };
    warn(found.kind === "compared" ? found.unnoted : null);
  };
  const write = async (known: Following): Promise<void> => {
    // The disk may have gone since the last time, and the folder that it was mounted on takes every write.
    if (memory.hasHeld() && !(await location.holdsOne())) {
      following = null;
      return warn(goneFrom(location));
    }
    const lives = await incarnations(log.journal);
    if (lives.at(-1)?.id !== known.life.id) {
      following = null;
      return;
    }
    const moved = await followHeads(log, known.heads, known.position, whileRunning);
    if (moved === null) {
      following = null;
      return warn("the log does not continue as the hub knew it");
    }
    known.position = moved.position;
    const stands = {
      incarnation: known.life.id,
      lives: lives.map(({ id }) => id),
      position: known.position?.toString() ?? null,
      keyFacts: await keyFactsOf(log),
    };
    const news = JSON.stringify(stands);
    if (news === known.written) return warn(null);
    const signer = options.signer();
    if (signer === null) return warn("the hub has no key to sign its anchor with");
    const heads = Object.fromEntries(known.heads);
    const anchor = await signAnchor({ version: 1, at: new Date(now()).toISOString(), ...stands, heads }, signer);
    await location.write(anchorText(anchor));
    writtenAtMs = now();
    const unnoted = noted(memory, location);
    // Until the location is remembered, the anchor is written again each time.
    if (unnoted === null) known.written = news;
    warn(unnoted);
  };
  const tried = async (work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      warn(locationProblem(error));
    }
  };
  const tick = (): Promise<void> =>
    tried(async () => {
      if (following !== null && !(await holdsLast(log, following))) following = null;
      if (following === null) await begin();
      if (following !== null) await write(following);
    });
  // This only compares: the first writing may have a long log to read.
  await tried(begin);
  const looping = loop(tick, everyMs, stop.signal);

  return {
    async part(): Promise<PartState> {
      const facts = {
        place: location.name,
        position: following?.position?.toString() ?? null,
        at: writtenAtMs === null ? null : new Date(writtenAtMs).toISOString(),
      };
      return warning === null ? { state: "ok", facts } : { state: "warning", reason: warning, facts };
    },
    async close() {
      stop.abort();
      await looping;
      whileRunning = undefined;
      await Promise.race([tick(), sleep(LAST_WORDS_MS, undefined, { ref: false })]);
    },
  };
}

/** Whether the log still has the last event that was seen in it. */
async function holdsLast(log: Log, { heads, position }: Following): Promise<boolean> {
  const last = position?.toString();
  for (const [origin, [seq, hash, at]] of heads) {
    if (at !== last) continue;
    return (await log.at(origin, seq))?.head.hash === hash;
  }
  return true;
}

async function loop(tick: () => Promise<void>, everyMs: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const startedMs = performance.now();
    await tick();
    const tookMs = performance.now() - startedMs;
    await sleep(Math.max(everyMs, tookMs * REST), undefined, { signal }).catch(() => {});
  }
}

/** What a hub says of its anchor when it starts. */
export function anchorSays(found: AnchorFound, location: AnchorLocation): string {
  if (found.kind === "none")
    return `There is no anchor at ${location.name} yet: the hub writes one now. If there was one before, find out who removed it.`;
  if (found.kind !== "compared")
    return `${found.says[0]!.toUpperCase()}${found.says.slice(1)}. Nothing is written there until this is mended.`;
  const says = [found.comparison.says, ...(found.unnoted === null ? [] : [found.unnoted])];
  return says.map((each) => `${each[0]!.toUpperCase()}${each.slice(1)}.`).join(" ");
}
