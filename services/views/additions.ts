/** The keys that rows claim, and what rows add to totals. In come rows; out go keys short enough for an index, and amounts. */

import { createHash } from "node:crypto";
import { canonicalize, type JsonValue } from "../core/index.ts";
import { contributionsOf, type FullRow, keysHeld, type Projection, type Totals } from "../merge/engine.ts";

/** What changes in one total: amounts to add, and rows that count. */
export interface Addition {
  readonly key: string;
  /** The row that the change comes from. */
  readonly entityId: string;
  readonly values: Readonly<Record<string, JsonValue>>;
  /** 1: the row counts from now on; -1: it no longer counts. */
  readonly sign: 1 | -1;
}

/** The key that a row claims for each invariant, in a form that an index takes. */
export function claimedKeys(
  { invariants }: Pick<Projection, "invariants">,
  id: string,
  row: FullRow | null,
): ReadonlyMap<string, string> {
  const held = keysHeld(invariants, id, row);
  return held.size === 0 ? held : new Map([...held].map(([invariant, key]) => [invariant, boundedText(key)]));
}

/** A key of at most this many characters is kept as it is; an index cannot take a text of any length. */
const MAX_KEY = 500;
const KEPT_OF_LONG = 100;
/** A key as text: itself, or its beginning and its hash. */
function boundedText(text: string): string {
  if (text.length <= MAX_KEY) return text;
  return `${text.slice(0, KEPT_OF_LONG)}… sha256:${createHash("sha256").update(text).digest("hex")}`;
}

/** How a changed row changes totals: what it added before is taken back, and what it adds now is added. */
export function additionsOf(
  totals: Totals,
  source: string,
  { id, before, after }: { readonly id: string; readonly before: FullRow | null; readonly after: FullRow | null },
): Addition[] {
  const of = (row: FullRow | null, sign: 1 | -1): Addition[] =>
    row === null
      ? []
      : contributionsOf(totals, source, id, row).map((values) => ({
          key: boundedText(canonicalize(Object.keys(totals.keys).map((name) => values[name] ?? null))),
          entityId: id,
          values,
          sign,
        }));
  const [taken, added] = [of(before, -1), of(after, 1)];
  if (
    canonicalize(taken.map(({ values }) => values) as JsonValue[]) ===
    canonicalize(added.map(({ values }) => values) as JsonValue[])
  )
    return [];
  return [...taken, ...added];
}
