import type { JsonObject } from "../../core/index.ts";
import type { Projection } from "../../merge/engine.ts";
import { sqlType } from "../columns.ts";
import type { Db } from "../connect.ts";
import { isKnownNow } from "../names.ts";
import { quoted, readAs, readColumns } from "./columns.ts";
import { type Cursor, openCursor } from "./cursor.ts";

/** A row of a view: its declared columns as JSON values, and all that the fold keeps beside them. */
export type KeptRow = Record<string, unknown> & {
  readonly id: string;
  readonly deleted: boolean;
  readonly conflicts: number;
  readonly waiting_for: JsonObject | null;
  readonly first_position: string;
  readonly last_position: string;
  readonly state: string;
};

/** One row of an entity in a table of many. */
export type ChildRow = Record<string, unknown> & { readonly id: string; readonly n: number };

/** The key that a row claims for an invariant. */
export interface ClaimRow {
  readonly id: string;
  readonly invariant: string;
  readonly key: string;
  readonly events: readonly string[];
}

/** A version of a row, as an event left it. */
export interface VersionRow {
  readonly id: string;
  readonly position: string;
  /** Microseconds since 1970: PostgreSQL's precision. */
  readonly recorded: string;
  readonly deleted: boolean;
  readonly values: JsonObject;
}

/** The tables of a view, each read once in the order of entities. */
export interface EntityTables {
  readonly rows: Cursor<KeptRow>;
  readonly children: ReadonlyMap<string, Cursor<ChildRow>>;
  /** `null`: the view has no invariants. */
  readonly claims: Cursor<ClaimRow> | null;
  /** `null`: the view keeps no past. */
  readonly past: Cursor<VersionRow> | null;
  close(): Promise<void>;
}

const KEPT = ["deleted", "conflicts", "waiting_for", "first_position", "last_position", "state"];

/** Opens a view's tables, inside the caller's transaction. */
export async function openEntityTables(db: Db, projection: Projection): Promise<EntityTables> {
  const { name, tables, invariants } = projection;
  const table = (suffix = ""): string => `views.${quoted(`${name}${suffix}`)}`;
  const children = new Map<string, Cursor<ChildRow>>();
  for (const [child, { columns }] of Object.entries(tables)) {
    const read = Object.entries(columns).map(([name, column]) => readAs(name, sqlType(column)));
    children.set(
      child,
      await openCursor(db, `SELECT ${["id", "n", ...read].join(", ")} FROM ${table(`_${child}`)} ORDER BY id COLLATE "C", n`),
    );
  }
  const rows = await openCursor<KeptRow>(
    db,
    `SELECT ${["id", ...readColumns(projection), ...KEPT].join(", ")} FROM ${table()} ORDER BY id COLLATE "C"`,
  );
  const claims =
    Object.keys(invariants).length === 0
      ? null
      : await openCursor<ClaimRow>(
          db,
          `SELECT entity_id AS id, invariant, key, events FROM ${table("_claims")}
           ORDER BY entity_id COLLATE "C", invariant COLLATE "C", key COLLATE "C"`,
        );
  const past = projection.keepsHistory
    ? await openCursor<VersionRow>(
        db,
        `SELECT id, position, (extract(epoch FROM recorded_at) * 1000000)::bigint::text AS recorded, deleted, values
         FROM ${table("_history")} h WHERE ${isKnownNow("h")} ORDER BY id COLLATE "C", position`,
      )
    : null;
  return {
    rows,
    children,
    claims,
    past,
    async close() {
      for (const cursor of [rows, ...children.values(), claims, past]) await cursor?.close();
    },
  };
}
