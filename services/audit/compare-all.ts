import { heapKeeper } from "../core/node.ts";
import { entityViews, type Projection, type Totals } from "../merge/engine.ts";
import { rehearseRefold } from "../projector/index.ts";
import { openTotals, type Parked } from "../views/index.ts";
import { compareView, type ViewDeps } from "./compare-view.ts";
import { type Compared, PROGRESS_EVERY, type VerifyDeps } from "./compared.ts";
import type { Read } from "./read-log.ts";
import type { Report } from "./verdicts.ts";

export interface Counted {
  readonly rows: number;
  readonly views: number;
  readonly totalRows: number;
  /**
   * How many parked entities could not be tried; how many would no longer be parked and are about to be folded by a projector; and how many versions are not kept,
   * as notes in the audit say.
   */
  readonly untold: { parked: number; waiting: number; placing: number; version: number };
}

/** Compares views, what they keep of the past, and totals with what folding the log gives. */
export async function compareAll({ onProgress }: VerifyDeps, besides: Compared, read: Read, report: Report): Promise<Counted> {
  const { db, declared, parked } = besides;
  const views = entityViews(declared);
  const names = new Set(views.map(({ name }) => name));
  // In views that are compared, this is reported with its entity.
  for (const each of parked)
    if (!names.has(each.view) && !read.parkedMet.has(each.event))
      report("parked", `${each.view}/${each.entity}`, `it is parked at ${each.event}, which the log does not have`);
  // Totals of a view that is left out cannot be compared.
  const totals = declared.filter(
    (view): view is Totals => view.kind === "totals" && [...view.sources.keys()].every((source) => names.has(source)),
  );
  const books = await openTotals(db, totals);
  let rows = 0;
  const untold = { parked: 0, waiting: 0, placing: 0, version: 0 };
  const keepHeap = heapKeeper();
  const onEntity = (): void => {
    if (++rows % PROGRESS_EVERY !== 0) return;
    keepHeap();
    onProgress?.({ stage: "views", done: rows, share: null });
  };
  for (const projection of views) {
    const shared = { books, totals, report, untold, onEntity };
    await compareView(viewDeps(besides, projection, shared), besides.spill);
  }
  let totalRows = 0;
  for (const [name, found] of await books.differences()) {
    totalRows += found.rows;
    for (const { key, what } of found.named) report("totals", `${name}/${key}`, what);
    if (found.count > found.named.length) report("totals", name, `${found.count - found.named.length} more totals differ`);
  }
  return { rows, views: views.length, totalRows, untold };
}

interface Shared extends Pick<ViewDeps, "books" | "totals" | "report" | "onEntity"> {
  readonly untold: Record<"parked" | "waiting" | "placing" | "version", number>;
}

/** What the comparison of one view needs. */
function viewDeps(besides: Compared, projection: Projection, { totals, untold, ...shared }: Shared): ViewDeps {
  const { db, gate, parked, pins, targets } = besides;
  const { name } = projection;
  const target = targets.find((each) => each.projection === projection);
  if (target === undefined) throw new Error(`invariant broken: nothing is known of where ${name} is built`);
  return {
    ...shared,
    db,
    gate,
    projection,
    pins: pins.get(name) ?? {},
    totals: totals.filter(({ sources }) => sources.has(name)),
    parked: parkedIn(parked, name),
    waiting: waitingIn(besides.waiting, name),
    rehearse: (id, entries, mark) => rehearseRefold({ db, gate }, { target, id, entries, mark }),
    untold: (what) => {
      untold[what]++;
    },
  };
}

/** The entities that are parked in a view, by their names in the database, each with the event that it is parked at. */
const parkedIn = (parked: readonly Parked[], view: string): ReadonlyMap<string, string> =>
  new Map(parked.filter((each) => each.view === view).map(({ entity, event }) => [entity, event]));

/** The entities of a view that wait to be folded again, by their names in the database. */
const waitingIn = (waiting: Compared["waiting"], view: string): ViewDeps["waiting"] =>
  new Map(
    [...waiting].flatMap(([name, asked]) => (name.startsWith(`${view}/`) ? [[name.slice(view.length + 1), asked] as const] : [])),
  );
