/**
 * Brings what the hub has for this device: one small question whether anything has changed, then page after page until nothing is left to ask for. Each page is kept before the next is asked for, so
 * an interrupted pull goes on where it was.
 *
 *   summary ─ nothing has changed ─▶ done
 *      └─ other ends, or another holding ─▶ asks ─▶ page ─▶ taken ─┬─ more to ask for ─▶ asks
 *                                                                 └─▶ done
 */
import { type BucketId, isTributaryError, saysRevoked, TributaryError } from "../../core/index.ts";
import { chainHash, sha256Hex, zstd } from "../../core/node.ts";
import { decodePage, type Page, type PullQuestion, type Purge } from "../../exchange/protocol/index.ts";
import type { Gate } from "../../gate/index.ts";
import type { SyncProgress } from "../push/pass.ts";
import type { FieldSchemas } from "../schemas.ts";
import type { Store } from "../store.ts";
import type { Transport } from "../way.ts";
import { schemasTold } from "./told.ts";
import type { Refused, Replica, Taken } from "./types.ts";

/** What is wanted of a page, before anything is known of the link, and at least. */
const PAGE_BYTES = 256_000;
const LEAST_PAGE_BYTES = 8_000;
const META_BYTES = "pull_bytes";
const META_AT = "pulled_at";
/** So many answers in a row may bring nothing before the hub counts as failing. */
const MAX_IDLE_PAGES = 4;

export interface PullOptions {
  /** How many buckets are asked for at a time; default: as many as a page may answer. */
  readonly buckets?: number;
  readonly maxEvents?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: SyncProgress) => void;
}

/** What a pull has brought so far, over all its tries. */
export interface PullTally {
  pages: number;
  events: number;
  entities: number;
  schemasLearnt: number;
  receivedBytes: number;
  purged: Purge[];
  withdrawn: { readonly bucket: BucketId; readonly why: string }[];
  refused: Refused[];
  /** Whether confirmations of purges were written, which are to be sent. */
  hasWritten: boolean;
}

/** What a pull has brought. */
export interface PullResult {
  readonly pages: number;
  /** Events that were not here before; and entities that came, or got events. */
  readonly events: number;
  readonly entities: number;
  /** Buckets that this device holds now, and how many of them are up to date. */
  readonly buckets: number;
  readonly current: number;
  /** What was deleted, since this device may not hold it any more. */
  readonly purged: { readonly entities: number; readonly events: number };
  readonly withdrawn: readonly { readonly bucket: BucketId; readonly why: string }[];
  /** Parts of what came that did not come out: they were not kept, and their buckets were compared with the hub's. */
  readonly refused: readonly Refused[];
  readonly schemasLearnt: number;
  /** Bytes of pages. */
  readonly receivedBytes: number;
}

export const emptyPull = (): PullTally => ({
  pages: 0,
  events: 0,
  entities: 0,
  schemasLearnt: 0,
  receivedBytes: 0,
  purged: [],
  withdrawn: [],
  refused: [],
  hasWritten: false,
});

export function pullResultOf({ hasWritten: _, purged, ...rest }: PullTally, replica: Replica): PullResult {
  const buckets = replica.buckets();
  const sum = (of: (purge: Purge) => number): number => purged.reduce((total, purge) => total + of(purge), 0);
  return {
    ...rest,
    buckets: buckets.length,
    current: buckets.filter(({ isCurrent }) => isCurrent).length,
    purged: { entities: sum(({ entities }) => entities), events: sum(({ events }) => events) },
  };
}

export interface PullDeps {
  readonly store: Store;
  readonly gate: Gate;
  readonly schemas: FieldSchemas | null;
  readonly replica: Replica;
  /** Runs one exchange at a time: an answer is taken for what was asked last. */
  readonly turns: Turns;
  /** Told after each page: rows may have changed. */
  readonly onTaken: () => void;
}

/** Lets pieces of work follow each other. */
export type Turns = <T>(work: () => Promise<T>) => Promise<T>;

export function inTurns(): Turns {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const mine = last.then(work, work);
    last = mine.catch(() => {});
    return mine;
  };
}

/** What one question says beside what all say. */
type Question = Pick<PullQuestion, "holding" | "summary" | "buckets">;

type Pulls = Pick<Transport, "pull" | "receivedBytes">;

/** Pulls over an open link until nothing is left to ask for. Whatever was taken stays, also when it throws. */
export async function pullAll(deps: PullDeps, transport: Pulls, options: PullOptions, tally: PullTally): Promise<void> {
  const { store, replica } = deps;
  const size = pageSize(store);
  const exchange = (question: () => Question): Promise<Answered> =>
    deps.turns(() => exchanged(deps, transport, { question, size, options, tally }));
  try {
    if (!(await exchange(() => ({ ...replica.summary(), buckets: replica.asks(0) }))).isReady) return;
    let idle = 0;
    const seen = new Set<string>();
    for (let asks = replica.asks(options.buckets); Object.keys(asks).length > 0; asks = replica.asks(options.buckets)) {
      if (options.signal?.aborted) return;
      const taken = await exchange(() => ({ holding: replica.summary().holding, buckets: replica.asks(options.buckets) }));
      // The hub's feeds are being made again. What is here stays, and the next pull goes on.
      if (!taken.isReady) return;
      const asked = JSON.stringify(asks);
      if (taken.events + taken.entities + taken.purged.length > 0) {
        seen.clear();
        idle = 0;
      } else if (seen.has(asked)) idle++;
      seen.add(asked);
      if (idle >= MAX_IDLE_PAGES) throw noProgress(taken);
    }
    store.transaction(() => store.setMeta(META_AT, new Date().toISOString()));
  } finally {
    size.remember();
  }
}

const noProgress = ({ refused }: Taken): TributaryError =>
  new TributaryError(
    "backend-failed",
    `the hub's answers bring this device no further${refused.length === 0 ? "" : `: ${refused.map(({ why }) => why).join("; ")}`}`,
    "Pull again later; if it stays so, tell whoever runs the hub. What is here already is whole.",
  );

/** What an answer has changed. `isReady`: whether the hub has sealed anything; if not, it says nothing of what there is. */
interface Answered extends Taken {
  readonly isReady: boolean;
}

/** One question and its answer, which is kept when this returns. */
async function exchanged(
  { gate, schemas, replica, onTaken }: PullDeps,
  transport: Pulls,
  {
    question,
    size,
    options,
    tally,
  }: {
    readonly question: () => Question;
    readonly size: PageSize;
    readonly options: PullOptions;
    readonly tally: PullTally;
  },
): Promise<Answered> {
  const before = transport.receivedBytes;
  let page: Page;
  try {
    const frame = await transport.pull({
      ...question(),
      seal: replica.seal(),
      own: replica.own(),
      ...(schemas === null ? {} : { schemas: schemas.digest() }),
      maxBytes: size.bytes,
      maxEvents: options.maxEvents ?? 1_000,
    });
    // Who signed it, and for which question, was looked at on its way: what is not the hub's word never comes here.
    page = decodePage(frame, { compression: zstd, sha256: sha256Hex, chainHash, unpack: gate.unpack }).page;
  } catch (error) {
    size.failed();
    throw error;
  } finally {
    tally.receivedBytes += transport.receivedBytes - before;
  }
  if (schemas !== null) tally.schemasLearnt += schemas.learn(page.schemas) + schemas.learnEvents(schemasTold(page));
  const taken = replica.take(page);
  size.carried();
  tally.pages++;
  tally.events += taken.events;
  tally.entities += taken.entities;
  tally.purged.push(...taken.purged);
  tally.withdrawn.push(...taken.withdrawn);
  tally.refused.push(...taken.refused);
  tally.hasWritten ||= taken.hasWritten;
  onTaken();
  if (options.onProgress !== undefined) {
    const { events, entities, current, buckets } = pullResultOf(tally, replica);
    options.onProgress({ kind: "pulled", events, entities, current, buckets });
  }
  return { ...taken, isReady: page.seal > 0 };
}

/** How large pages are asked for: half after a failure, twice as large again after each that came. */
interface PageSize {
  readonly bytes: number;
  failed(): void;
  carried(): void;
  /** Keeps it for the next pull. */
  remember(): void;
}

function pageSize(store: Store): PageSize {
  const remembered = Number(store.meta(META_BYTES) ?? PAGE_BYTES);
  let bytes = Math.min(PAGE_BYTES, Math.max(LEAST_PAGE_BYTES, Number.isFinite(remembered) ? remembered : PAGE_BYTES));
  return {
    get bytes() {
      return bytes;
    },
    failed() {
      bytes = Math.max(LEAST_PAGE_BYTES, Math.floor(bytes / 2));
    },
    carried() {
      bytes = Math.min(PAGE_BYTES, bytes * 2);
    },
    remember() {
      if (bytes !== remembered) store.transaction(() => store.setMeta(META_BYTES, String(bytes)));
    },
  };
}

/** When the last pull came to its end, ISO 8601; `null`: none has. */
export const pulledAt = (store: Store): string | null => store.meta(META_AT);

/** Whether an error is the hub's word that this device was revoked. `isPinned`: the hub's key is known, so nothing that it has not signed comes as a refusal. */
export const isRevocation = (error: unknown, store: Store, isPinned: boolean): boolean =>
  isPinned && isTributaryError(error) && error.code === "revoked" && saysRevoked(error.message, store.name);
