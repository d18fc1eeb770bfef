import { type Hlc, isJsonObject, type JsonValue, type OriginId, type Seq } from "../../core/index.ts";
import type { Crdt } from "../crdt.ts";
import { byText, findRow } from "./dots.ts";

/** Most values that one write may insert, and most entries that it may remove. A removed entry stays as a mark, without its value. */
export const MAX_VALUES_PER_WRITE = 65_536;

/** Names one value of a list: `origin/seq/n`, the n-th value (from 0) that the write `origin/seq` inserted. */
export type EntryId = string;

const ENTRY_ID = /^([a-z0-9.-]{1,200})\/(0|[1-9]\d{0,14})\/(0|[1-9]\d{0,14})$/;

/** A value as a list of one; `0` once it is removed. */
type Cell = readonly [JsonValue] | 0;
type Run = readonly [after: EntryId | null, cells: readonly Cell[]];
type Inserts = readonly [origin: OriginId, seq: Seq, hlc: Hlc, clockWrong: 0 | 1, runs: readonly Run[]];

/** `w`: the writes that insert, sorted by dot. `r`: what is removed of writes that have not come, sorted. */
interface State {
  readonly w: readonly Inserts[];
  readonly r: readonly EntryId[];
}

interface Change {
  readonly insert: readonly { readonly after: EntryId | null; readonly values: readonly JsonValue[] }[];
  readonly remove: readonly EntryId[];
}

const SHAPE =
  'a list takes {"insert": [{"after": entry id or null, "values": […]}], "remove": [entry id …]}, or a list of values to put first';

function changeOf(value: JsonValue): Change | string {
  if (Array.isArray(value)) return changeOf({ insert: [{ after: null, values: value }] });
  if (!isJsonObject(value) || Object.keys(value).some((key) => key !== "insert" && key !== "remove")) return SHAPE;
  const { insert = [], remove = [] } = value;
  if (!Array.isArray(insert) || !Array.isArray(remove)) return SHAPE;
  let values = 0;
  for (const run of insert as readonly JsonValue[]) {
    if (!isJsonObject(run) || Object.keys(run).length !== 2 || !Array.isArray(run.values)) return SHAPE;
    if (run.after !== null && !isEntryId(run.after)) return `${JSON.stringify(run.after)} is not an entry id`;
    values += run.values.length;
  }
  const stranger = remove.find((id) => !isEntryId(id));
  if (stranger !== undefined) return `${JSON.stringify(stranger)} is not an entry id`;
  if (Math.max(values, remove.length) > MAX_VALUES_PER_WRITE)
    return `one write inserts at most ${MAX_VALUES_PER_WRITE} values, and removes as many`;
  return { insert, remove } as unknown as Change;
}

const isEntryId = (value: JsonValue | undefined): value is EntryId => typeof value === "string" && ENTRY_ID.test(value);

interface EntryParts {
  readonly origin: OriginId;
  readonly seq: Seq;
  readonly n: number;
}
function partsOf(id: EntryId): EntryParts {
  const [, origin, seq, n] = ENTRY_ID.exec(id)!;
  return { origin: origin as OriginId, seq: Number(seq) as Seq, n: Number(n) };
}

/** The write without the values of the entries numbered in `removed`. */
function without([origin, seq, hlc, clockWrong, runs]: Inserts, removed: ReadonlySet<number>): Inserts {
  let n = 0;
  const left = runs.map(([after, cells]): Run => [after, cells.map((cell) => (removed.has(n++) ? 0 : cell))]);
  return [origin, seq, hlc, clockWrong, left];
}

/** The state without these entries. Entries of writes that have not come are remembered; entries that a known write never made are ignored. */
function removeAll({ w, r }: State, ids: readonly EntryId[]): State {
  if (ids.length === 0) return { w, r };
  const early = new Set(r);
  const byWrite = new Map<number, Set<number>>();
  for (const id of ids) {
    const entry = partsOf(id);
    const at = findRow(w, entry);
    if (at < 0) early.add(id);
    else if (!byWrite.get(at)?.add(entry.n)) byWrite.set(at, new Set([entry.n]));
  }
  const writes = byWrite.size === 0 ? w : [...w];
  for (const [at, removed] of byWrite) (writes as Inserts[])[at] = without(w[at]!, removed);
  return { w: writes, r: early.size === r.length ? r : [...early].sort() };
}

/**
 * A list in which every value stays where its author put it: after the value that the author named (a replicated growable array, kept as a
 * causal tree). What several authors put after the same value stands newest first by their stamps, and those of wrong clocks last. What one
 * write inserts stays together unless somebody inserts within it.
 *
 * A write is `{"insert": [{"after": "relief.juba.t1.a/7/0", "values": ["b", "c"]}], "remove": ["relief.juba.t1.a/7/1"]}`; `listEntries` tells
 * the ids. `"after": null` is the beginning, and a plain list inserts its values there. Where the end is depends on what the author saw,
 * so appending needs an id.
 *
 * A value that follows one which has not come yet is kept, and shown when that one has come. Removing a value that has not come is remembered.
 */
export const orderedList: Crdt = {
  name: "orderedList",
  version: 1,
  columns: ["json"],
  problem(value) {
    const change = changeOf(value);
    return typeof change === "string" ? change : null;
  },
  join(given, { by, value }) {
    const change = changeOf(value);
    if (typeof change === "string") throw new TypeError(`orderedList: ${change}`);
    let state = (given ?? { w: [], r: [] }) as unknown as State;
    const at = findRow(state.w, by);
    if (at < 0 && change.insert.length > 0) {
      const runs = change.insert.map(({ after, values }): Run => [after, values.map((each): Cell => [each])]);
      const isOwn = (id: EntryId): boolean => id.startsWith(`${by.origin}/${by.seq}/`);
      const early = new Set(state.r.filter(isOwn).map((id) => partsOf(id).n));
      const write: Inserts = [by.origin, by.seq, by.hlc, by.clockWrong ? 1 : 0, runs];
      state = {
        w: state.w.toSpliced(-1 - at, 0, early.size === 0 ? write : without(write, early)),
        r: early.size === 0 ? state.r : state.r.filter((id) => !isOwn(id)),
      };
    }
    return removeAll(state, change.remove) as unknown as JsonValue;
  },
  read: (state) => listEntries(state).map(({ value }) => value),
};

export interface ListEntry {
  readonly id: EntryId;
  readonly value: JsonValue;
}

/** Ranks writes from the oldest to the newest, those of wrong clocks first. Within a write, later insertions are newer. */
const byAge = (a: Inserts, b: Inserts): number => b[3] - a[3] || byText(a[2], b[2]) || byText(a[0], b[0]) || a[1] - b[1];

/** The values that a list shows, with the ids by which a write can name them. */
export function listEntries(state: JsonValue): readonly ListEntry[] {
  const ids: EntryId[] = [];
  const cells: Cell[] = [];
  const parents: (EntryId | null)[] = [];
  for (const [origin, seq, , , runs] of [...(state as unknown as State).w].sort(byAge)) {
    let n = 0;
    for (const [after, run] of runs) {
      let parent = after;
      for (const cell of run) {
        const id = `${origin}/${seq}/${n++}`;
        ids.push(id);
        cells.push(cell);
        parents.push(parent);
        parent = id;
      }
    }
  }
  // Entry 0 is the beginning; entry i + 1 is ids[i]. We go from old to new, and each entry goes before its older siblings.
  const numbers = new Map(ids.map((id, i) => [id, i + 1]));
  const firstChild = new Uint32Array(ids.length + 1);
  const nextSibling = new Uint32Array(ids.length + 1);
  for (let i = 0; i < ids.length; i++) {
    const parent = parents[i] === null ? 0 : numbers.get(parents[i]!);
    if (parent === undefined) continue;
    nextSibling[i + 1] = firstChild[parent]!;
    firstChild[parent] = i + 1;
  }
  // A tree may be as deep as it has entries, so the way back is kept here and not on the call stack. Entries that a hostile write put
  // in a circle, each after the other, hang on nothing and are never reached.
  const shown: ListEntry[] = [];
  const open = [firstChild[0]!];
  while (open.length > 0) {
    const at = open.pop()!;
    if (at === 0) continue;
    const cell = cells[at - 1]!;
    if (cell !== 0) shown.push({ id: ids[at - 1]!, value: cell[0] });
    open.push(nextSibling[at]!, firstChild[at]!);
  }
  return shown;
}
