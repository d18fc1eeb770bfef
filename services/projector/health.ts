import type { Position } from "../core/index.ts";
import type { Log } from "../log/index.ts";
import { type Db, incarnationOf, parkedCounts, shardsNow } from "../views/index.ts";

/** How the views stand: cheap enough to be asked often. */
export interface ProjectorHealth {
  /** How many entities are parked, by view; views without any are left out. */
  readonly parked: Readonly<Record<string, number>>;
  readonly lag: {
    /** How far all shards have folded the log; `null`: some have not begun. */
    readonly position: Position | null;
    /** Where the log ends; `null`: it is empty. */
    readonly end: Position | null;
    /** How long the oldest event that is not in the views has waited, in seconds; 0: all are in the views. */
    readonly seconds: number;
  };
  /** The life of the log that positions belong to; `null`: none was folded yet. */
  readonly incarnation: string | null;
  /** How many shards no living projector holds: nobody folds their entities. */
  readonly unheldShards: number;
}

/** How many entries of any kind are read to find the oldest event that is not in the views. As a rule only a few facts of the hub lie between origins' events. */
const LOOK_EVENTS = [200, 50_000] as const;

/** Asks database and log how the views stand: a few small queries, and at most one event read. Throws where one of them does not answer. */
export async function projectorHealth(db: Db, log: Pick<Log, "readAll" | "end">, nowMs: number): Promise<ProjectorHealth> {
  const { position, unheld } = await shardsNow(db);
  let oldestMs: number | null = null;
  const end = await log.end();
  // Now and then many facts of the hub stand between two events.
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
