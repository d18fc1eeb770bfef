import type { SQLOutputValue } from "node:sqlite";
import type { Statements } from "./statements.ts";

type Row = Record<string, SQLOutputValue>;

/** How many streams' heads are remembered. */
const MAX_HEADS = 100_000;

/** Where a stream stands. `last`: its last revision, −1 before the first event. `truncateBefore`: Infinity for a deleted stream. */
export interface Head {
  readonly id: number;
  readonly name: string;
  last: number;
  tombstoned: boolean;
  maxCount: number | null;
  maxAgeS: number | null;
  truncateBefore: number;
}

export interface Heads {
  find(name: string): Head | null;
  /** Finds a stream's head; makes the stream if there is none. */
  make(name: string): Head;
  /** Forgets all heads. Call it after a transaction that failed, since they may be wrong then. */
  forget(): void;
}

/** Where each stream stands, as the database has it and the open transaction leaves it. */
export function openHeads(sql: Statements): Heads {
  const heads = new Map<string, Head>();
  const remember = (head: Head): Head => {
    if (heads.size >= MAX_HEADS) forgetOldest(heads);
    heads.set(head.name, head);
    return head;
  };
  const find = (name: string): Head | null => {
    const known = heads.get(name);
    if (known !== undefined) return known;
    const row = sql.stream.get(name);
    if (row === undefined) return null;
    return remember(headOf(name, row));
  };
  return {
    find,
    make(name) {
      const found = find(name);
      if (found !== null) return found;
      const id = Number(sql.addStream.run(name).lastInsertRowid);
      return remember({ id, name, last: -1, tombstoned: false, maxCount: null, maxAgeS: null, truncateBefore: 0 });
    },
    forget: () => heads.clear(),
  };
}

function headOf(name: string, row: Row): Head {
  const { truncate_before: before } = row;
  const bound = (value: SQLOutputValue | undefined): number | null => (typeof value === "number" ? value : null);
  return {
    id: Number(row.id),
    name,
    last: Number(row.last),
    tombstoned: row.tombstoned === 1,
    maxCount: bound(row.max_count),
    maxAgeS: bound(row.max_age_s),
    truncateBefore: before === -1 ? Number.POSITIVE_INFINITY : (bound(before) ?? 0),
  };
}

export function forgetOldest(map: Map<string, unknown>): void {
  for (const key of map.keys()) {
    map.delete(key);
    return;
  }
}
