/** Notes for followers of live queries: what changes without an event at a position of its own. */
import type { EntityRef } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { withoutNul } from "../copy.ts";
import { trimChanges } from "./trim-changes.ts";

/** Something that changed. */
export type ChangeNote =
  /** The rows of an entity in a view; `null`: in all of its views. */
  | { readonly kind: "row"; readonly view: string | null; readonly entity: EntityRef }
  /** All rows of a view. */
  | { readonly kind: "view"; readonly view: string }
  | ({ readonly kind: "case" } & CaseChange)
  /** All cases. */
  | { readonly kind: "cases" };

/** A case that was opened, changed or closed. */
export interface CaseChange {
  readonly id: string;
  /** Whether it was opened, perhaps again. */
  readonly opened: boolean;
}

export const caseNote = (change: CaseChange): ChangeNote => ({ kind: "case", ...change });

interface Cells {
  readonly kind: "row" | "view" | "opened" | "case" | "cases";
  readonly view: string | null;
  readonly type: string | null;
  readonly id: string | null;
}

function cellsOf(note: ChangeNote): Cells {
  switch (note.kind) {
    case "row":
      return { kind: "row", view: note.view, type: withoutNul(note.entity.type), id: withoutNul(note.entity.id) };
    case "view":
      return { kind: "view", view: note.view, type: null, id: null };
    case "case":
      return { kind: note.opened ? "opened" : "case", view: null, type: null, id: note.id };
    case "cases":
      return { kind: "cases", view: null, type: null, id: null };
  }
}

/**
 * Notes what changed, inside the transaction that changes it. Call it last: until that transaction ends, others who note something wait, so whoever waits here must hold nothing that they
 * wait for, and nobody may wait for anything after it.
 */
export async function noteChanges(db: Db, notes: readonly ChangeNote[]): Promise<void> {
  if (notes.length === 0) return;
  const cells = notes.map(cellsOf);
  const { rows } = await db.query<{ first: string; last: string }>(
    `WITH head AS (
       INSERT INTO tributary.change_head AS h (number) VALUES ($1) ON CONFLICT (is_only) DO UPDATE SET number = h.number + $1 RETURNING number
     ), noted AS (
       INSERT INTO tributary.change (number, kind, view, entity_type, id)
       SELECT head.number - $1 + x.n, x.kind, x.view, x.type, x.id
       FROM head, unnest($2::text[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY AS x (kind, view, type, id, n)
     )
     SELECT number - $1 + 1 AS first, number AS last FROM head`,
    [
      cells.length,
      cells.map(({ kind }) => kind),
      cells.map(({ view }) => view),
      cells.map(({ type }) => type),
      cells.map(({ id }) => id),
    ],
  );
  const [head] = rows;
  if (head !== undefined) await trimChanges(db, BigInt(head.first), BigInt(head.last));
}
