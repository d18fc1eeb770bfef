import type { Position } from "../core/index.ts";
import type { Log } from "../log/index.ts";
import { type Db, incarnationOf, parkedCounts, shardsNow } from "../views/index.ts";

/** How the views stand, for whoever asks often. */
export interface ProjectorHealth {
  /** How many entities are parked, by view; views without any are left out. */
  readonly parked: Readonly<Record<string, number>>;
  readonly lag: {
    /** How far all of the log has been folded; `null`: nothing yet. */
    readonly position: Position | null;
    /** Where the log ends; `null`: it is empty. */
    readonly end: Position | null;
    /** How long the oldest event that is not in the views has waited, seconds; 0: all are. */
    readonly seconds: number;
  };
  /** The life of the log that positions are of; `null`: none was folded yet. */
  readonly incarnation: string | null;
  /** Shards that no living projector holds: nobody folds their entities. */
  readonly unheldShards: number;
}

/** Events of any kind that are looked at for the oldest one that is not in the views: what lies between origins' events are a hub's few facts, as a rule. */
const LOOK_EVENTS = [200, 50_000] as const;

/** Asks database and log how the views stand: a few small queries, and at most one event read. Throws where one of them does not answer. */
export async function projectorHealth(db: Db, log: Pick<Log, "readAll" | "end">, nowMs: number): Promise<ProjectorHealth> {
  const { position, unheld } = await shardsNow(db);
  let oldestMs: number | null = null;
  const end = await log.end();
  // Many facts of the hub may stand between two events.
  for (const maxCount of LOOK_EVENTS) {
    if (oldestMs !== null || end === null || end <= (position ?? -1n)) break;
    for await (const entry of log.readAll({ from: position, maxCount }))
      if (position === null || entry.position > position) oldestMs ??= entry.recordedAtMs;
  }
  return {
    parked: await parkedCounts(db),
    lag: {
      position,
      end,
      seconds: oldestMs === null ? 0 : Math.max(0, Math.round((nowMs - oldestMs) / 100) / 10),
    },
    incarnation: await incarnationOf(db),
    unheldShards: unheld,
  };
}
