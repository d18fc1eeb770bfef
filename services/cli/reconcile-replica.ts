/** Compares what a device shows with what the hub shows of the same buckets: by one hash a bucket and view, then row by row where it differs. */
import { type BucketId, type Position, positionToNumber, sha256 } from "../core/index.ts";
import type { Field } from "../field/index.ts";
import {
  type EntityState,
  entityViews,
  type Projection,
  rowsHash,
  rowText,
  rowWith,
  unpackState,
  type View,
  type Withheld,
  waitingFor,
} from "../merge/engine.ts";
import { type Db, headsAfter, membersOf, newestSeal, packedStates } from "../views/index.ts";
import { counted, type Output } from "./output.ts";
import { withViews } from "./with-views.ts";

/** A view of a bucket, beside what the hub shows of it. */
export interface Compared {
  readonly bucket: BucketId;
  readonly entityType: string;
  readonly values: readonly unknown[];
  readonly view: string;
  /** `null`: it could not be compared, for the reason in `why`. */
  readonly rowsEqual: boolean | null;
  readonly rows: number;
  /** The entities whose rows differ. */
  readonly differing: readonly string[];
  /** Columns that the device, or the hub, may not see in some of the rows: they were left out of the comparison there. */
  readonly withheld: readonly string[];
  readonly why: string | null;
}

const MEMBERS_AT_ONCE = 1_000;

/** Compares the buckets that a device is up to date with. `field`: the device's database, opened with these views. */
export async function compareReplica(
  field: Field,
  views: readonly View[],
  data: string | undefined,
): Promise<readonly Compared[]> {
  if (field.replica === null || field.replica.buckets().length === 0) return [];
  return await withViews(data, (db) => compared(db, field, entityViews(views)));
}

async function compared(db: Db, field: Field, views: readonly Projection[]): Promise<readonly Compared[]> {
  const { replica } = field;
  const out: Compared[] = [];
  // A device that was opened with some of the views shows these.
  const folded = new Set(replica?.views().map(({ view }) => view));
  const heads = new Map((await headsAfter(db, 0)).map((head) => [head.bucket, head]));
  const { through } = await newestSeal(db);
  for (const { bucket, entityType, values, head } of replica?.buckets() ?? []) {
    const theirs = heads.get(bucket);
    const of = views.filter((view) => view.entity === entityType && folded.has(view.name));
    const why = theirs === undefined || theirs.head === head ? null : "the device is not up to date: pull first";
    const hidden = new Map(of.map(({ name }) => [name, replica?.withheld(name, bucket) ?? new Map<string, Withheld>()]));
    const rows = why === null ? await hubRows(db, of, bucket, { through, hidden }) : new Map<string, HubRows>();
    for (const view of of) {
      const there = rows.get(view.name)?.hidden ?? new Map<string, Withheld>();
      const mine = replica?.rowHashes(view.name, bucket, there) ?? new Map<string, string>();
      const withheld = namesOf([hidden.get(view.name) ?? there, there]);
      const at = { bucket, entityType, values, view: view.name, rows: mine.size, withheld };
      const older = replica?.views().find((each) => each.view === view.name)?.olderRules === true;
      const reason = why ?? (older ? "the device folds this view by other rules" : null);
      if (reason !== null) out.push({ ...at, rowsEqual: null, differing: [], why: reason });
      else
        out.push({
          ...at,
          ...differences(mine, rows.get(view.name), replica?.rowsHash(view.name, bucket, there) ?? null),
          why: null,
        });
    }
  }
  return out;
}

/** What the hub shows of a bucket in a view, as texts by id; and which entities got events since the newest seal, which the device cannot have yet. */
interface HubRows {
  readonly texts: Map<string, string>;
  readonly newer: Set<string>;
  /** What the hub itself may not see of a row, by id. */
  readonly hidden: Map<string, Withheld>;
}

const namesOf = (sides: readonly ReadonlyMap<string, Withheld>[]): readonly string[] =>
  [
    ...new Set(
      sides.flatMap((side) =>
        [...side.values()].flatMap(({ withheld = [], withheldTables = [] }) => [...withheld, ...withheldTables]),
      ),
    ),
  ].sort();

function differences(
  mine: ReadonlyMap<string, string>,
  theirs: HubRows | undefined,
  hash: string | null,
): Pick<Compared, "rowsEqual" | "differing"> {
  const { texts, newer } = theirs ?? NO_ROWS();
  if (newer.size === 0 && hash !== null && hash === rowsHash([...texts.values()], sha256))
    return { rowsEqual: true, differing: [] };
  const hashes = new Map([...texts].map(([id, text]) => [id, sha256(text)]));
  const ids = [...new Set([...mine.keys(), ...hashes.keys()])].filter((id) => !newer.has(id)).sort();
  const differing = ids.filter((id) => mine.get(id) !== hashes.get(id));
  return { rowsEqual: differing.length === 0, differing };
}

const NO_ROWS = (): HubRows => ({ texts: new Map(), newer: new Set(), hidden: new Map() });

/** `hidden`: what the device may not see, by view and id. */
async function hubRows(
  db: Db,
  views: readonly Projection[],
  bucket: BucketId,
  asked: { readonly through: Position | null; readonly hidden: ReadonlyMap<string, ReadonlyMap<string, Withheld>> },
): Promise<ReadonlyMap<string, HubRows>> {
  const { through } = asked;
  const out = new Map(views.map((view) => [view.name, NO_ROWS()]));
  for (let after: string | null = null; ; ) {
    const found = await membersOf(db, bucket, { prefix: "", after }, MEMBERS_AT_ONCE);
    const states = await packedStates(
      db,
      views,
      found.map(({ entityId }) => entityId),
    );
    for (const view of views) {
      const { texts, newer, hidden } = out.get(view.name)!;
      const there = asked.hidden.get(view.name);
      for (const { entityId } of found) {
        const packed = states.get(entityId)?.[view.name];
        if (packed === undefined) continue;
        const state = unpackState(packed);
        if (through !== null && lastIn(state) > positionToNumber(through)) newer.add(entityId);
        const row = rowWith(view, entityId, state);
        if (row.withheld !== undefined) hidden.set(entityId, row);
        texts.set(entityId, rowText(entityId, row, waitingFor(state), there?.get(entityId)));
      }
    }
    after = found.at(-1)?.key ?? null;
    if (found.length < MEMBERS_AT_ONCE || after === null) return out;
  }
}

/** The position of the last write that stands in a state: nothing covers the newest one. */
function lastIn({ registers }: EntityState): number {
  let last = 0;
  for (const { siblings } of Object.values(registers)) for (const { by } of siblings) last = Math.max(last, by.position ?? 0);
  return last;
}

/** What was compared, in words. */
export function tellCompared(all: readonly Compared[], out: Output): void {
  for (const { entityType, values, view, rows, rowsEqual, differing, withheld, why } of all) {
    const but = withheld.length === 0 ? "" : ` Not compared where they are withheld: ${withheld.join(", ")}.`;
    const name = `${view} of ${entityType}${values.length === 0 ? "" : ` (${values.map(String).join(", ")})`}`;
    if (rowsEqual === null) out.line(`${name}: not compared: ${why}.`);
    else if (rowsEqual) out.line(`${name}: ${counted(rows, "row")}, the same as the hub's.${but}`);
    else out.line(`${name}: these rows differ from the hub's: ${differing.join(", ")}.${but}`);
  }
}
