import type { LogEntry, Position, PublicKey } from "../core/index.ts";
import type { Gate, Pins } from "../gate/index.ts";
import type { Anchor, Log } from "../log/index.ts";
import type { Projection, Totals, View } from "../merge/engine.ts";
import { targetsFor, type ViewTarget } from "../projector/index.ts";
import {
  type Asked,
  type Books,
  type Db,
  foldedTo,
  generationsOf,
  openBooks,
  type Parked,
  parkedMarks,
  readersOf,
  refoldsAsked,
} from "../views/index.ts";
import { builtOtherwise } from "./live.ts";
import type { Spill } from "./spill.ts";

/** How long an entity may wait to be folded again before we stop believing that a projector will do it. A running hub takes about a second. */
const AWAITED_S = 60;

/** Progress is reported each time that this many events, or this many rows, are done. */
export const PROGRESS_EVERY = 1_000;

/** How far the verification has come, for whoever waits. */
export interface VerifyProgress {
  readonly stage: "log" | "views";
  /** Events of the log, or entities of views. */
  readonly done: number;
  /** From 0 to 1, by positions; `null`: not known. */
  readonly share: number | null;
}

export interface VerifyDeps {
  readonly log: Log;
  /** If given, audit, views and totals are compared as well, each shard as far as it is folded. */
  readonly views?: {
    readonly db: Db;
    readonly gate: Gate;
    readonly projections: readonly View[];
    /** The declarations are known to be those that the views were built with, even if the text of their functions has changed on the way. */
    readonly isSame?: boolean;
  };
  /** The hub's public keys, from a source other than the log. What the log says about keys is checked with them. */
  readonly hubKeys?: readonly PublicKey[];
  /** What was kept of the log at another location, or why that cannot be believed. */
  readonly anchor?: { readonly anchor: Anchor } | { readonly problem: string };
  readonly onProgress?: (progress: VerifyProgress) => void;
  /** Called for every event, for a caller's own checks in the same pass. */
  readonly onEntry?: (entry: LogEntry) => void;
}

/** What is compared besides the log. */
export interface Compared {
  readonly db: Db;
  readonly gate: Gate;
  readonly declared: readonly View[];
  readonly notCompared: readonly string[];
  readonly pins: ReadonlyMap<string, Pins>;
  readonly parked: readonly Parked[];
  /** Entities that wait to be folded again, as `view/entity`. */
  readonly waiting: ReadonlyMap<string, Asked>;
  /** The builds that parked entities are folded into, to try whether they still stop. */
  readonly targets: readonly ViewTarget[];
  readonly shards: ReadonlyMap<number, Position | null>;
  readonly books: Books;
  readonly spill: Spill;
}

/** Reads from the database what is compared besides the log. */
export async function compared(
  { db, gate, projections, isSame }: NonNullable<VerifyDeps["views"]>,
  spill: Spill,
): Promise<Compared> {
  const shards = await foldedTo(db);
  const leftOut = isSame === true ? new Set<string>() : await builtOtherwise(db, projections);
  const declared = projections.filter(({ name }) => !leftOut.has(name));
  return {
    db,
    gate,
    declared,
    notCompared: await namesLeftOut(db, projections, leftOut),
    pins: await readersOf(db),
    parked: await parkedMarks(db),
    waiting: await refoldsAsked(db, AWAITED_S),
    targets: await targetsFor(
      db,
      declared.filter((view): view is Projection | Totals => view.kind !== "sql"),
      await generationsOf(db, "live"),
    ),
    shards,
    books: await openBooks(db),
    spill,
  };
}

/** Live views that are not compared. Views in SQL have no rows of their own. */
async function namesLeftOut(db: Db, views: readonly View[], leftOut: ReadonlySet<string>): Promise<string[]> {
  const declared = new Set(views.map(({ name }) => name));
  const undeclared = [...(await generationsOf(db, "live")).keys()].filter((name) => !declared.has(name));
  const isLeftOut = (view: View): boolean =>
    view.kind !== "sql" &&
    // Totals of a view that is left out cannot be compared.
    (leftOut.has(view.name) || (view.kind === "totals" && [...view.sources.keys()].some((source) => leftOut.has(source))));
  return [...views.filter(isLeftOut).map(({ name }) => name), ...undeclared].sort();
}
