/** What a rebuild needs, what it is asked for, and what it returns. */
import type { Position } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import type { Log } from "../log/index.ts";
import type { View } from "../merge/engine.ts";
import { type Comparison, type Db, livePositions, type Positions } from "../views/index.ts";

export interface RebuildDeps {
  readonly db: Db;
  /** A second connection, to read states while the first writes. */
  readonly reader: Db;
  readonly log: Log;
  readonly gate: Gate;
  /** All views as they are declared. */
  readonly views: readonly View[];
  readonly say?: (event: Record<string, unknown>) => void;
  /** How many entities' states are kept in memory for each view, where memory counts more than time. */
  readonly maxHotEntities?: number;
  /**
   * Nobody waits for the rebuild or is there to be told. It goes on trying until this signal aborts, and what others made and what cannot be carried
   * over stays with the old build.
   */
  readonly unattended?: AbortSignal;
  /** Set where the log was set back. `atMost`: how far of a position the log still has; `cut`: what is done in the transaction that swaps. */
  readonly setBack?: {
    readonly atMost: (position: Position | null) => Position | null;
    readonly cut: (db: Db) => Promise<void>;
  };
}

export interface RebuildOptions {
  readonly names: readonly string[];
  /** Views that are no longer declared, to be taken away in the same swap. */
  readonly retired?: readonly string[];
  /** Bring the builds before the live ones up to date and go back to them. Their declarations must be in place again. */
  readonly rollback?: boolean;
  /** Begin at the start, even where a build was interrupted. */
  readonly fresh?: boolean;
  /** Build and compare, but leave the live views as they are. */
  readonly compareOnly?: boolean;
  /** Compare with the live rows before the swap. */
  readonly compare?: boolean;
  /** Events in one transaction: the most that an interrupted build loses. */
  readonly batchEvents?: number;
  /** Events a second at most; default: as fast as it goes. */
  readonly maxEventsPerSecond?: number;
  readonly onProgress?: (progress: Progress) => void;
  readonly signal?: AbortSignal;
}

export interface Progress {
  readonly events: number;
  /** The share that is done, estimated from positions, which do not count events. */
  readonly share: number;
  readonly etaSeconds: number | null;
}

export interface Rebuilt {
  readonly views: readonly string[];
  readonly generation: number;
  readonly events: number;
  /** Events that an interrupted build had folded already. */
  readonly resumedAt: number;
  readonly swapped: boolean;
  readonly comparisons: readonly Comparison[];
  readonly parked: number;
  readonly seconds: number;
}

/** Where the live views stand, as far as the log has it. */
export async function standing({ db, setBack }: RebuildDeps): Promise<Positions> {
  const live = await livePositions(db);
  return setBack === undefined ? live : live.map(setBack.atMost);
}
