/**
 * A page of the log, folded into all views: which entries count, what each view makes of them, and what the page says of origins, quarantine and cases. Nothing
 * is written. The states of entities move on with `written`, once the page stands in the database; pages that are folded meanwhile see them already.
 */
import { type CountedEntry, type LogEntry, type Position, partsOf } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import type { OriginRow, PageChanges, ViewChanges } from "../views/index.ts";
import type { Counting, Judged } from "./counts.ts";
import { type FoldTarget, foldView } from "./fold-view.ts";
import { placementsOf } from "./placements.ts";
import { orderingOf, type Placing, withPlaces } from "./placing.ts";
import { isReadable, StaleViewError } from "./readable.ts";
import type { Staged, States } from "./states.ts";

/** A build that pages are folded into, with what is known of its entities. */
export interface ViewTarget extends FoldTarget {
  readonly states: States;
}

/** A parked entity to fold again. */
export interface Waiting {
  readonly target: ViewTarget;
  readonly id: string;
}

/** All that one transaction writes for a page of the log, and the entities that are to be folded again after it. */
export interface FoldedPage extends PageChanges {
  readonly waiting: readonly Waiting[];
  /** Call `written` when the page stands in the database, or `dropped` when it will not: exactly one of them, in the order in which pages were folded. */
  written(): void;
  dropped(): void;
}

export interface PageDeps {
  readonly gate: Gate;
  readonly counts: Counting;
  readonly placing: Placing;
}

/** Folds a page of the log. Reads states from the database where they are not hot; writes nothing. */
export async function foldPage(
  { gate, counts, placing }: PageDeps,
  targets: readonly ViewTarget[],
  entries: readonly LogEntry[],
  through: Position,
): Promise<FoldedPage> {
  const judged: Judged[] = [];
  for (const entry of entries) judged.push(await counts.judge(entry));
  const views = targets.map(({ projection }) => projection);
  const counted = withPlaces(
    placing,
    views,
    entries,
    judged.map((each) => each.counted),
  );
  const ordering = orderingOf(placing, views, entries, counted);
  await gate.ensure(counted.flatMap((entry) => (entry === null ? [] : [entry.head.schema])));
  const projectionErrors = new Map<number, string>();
  const changed: ViewChanges[] = [];
  const waiting: Waiting[] = [];
  const staged: Staged[] = [];
  try {
    for (const target of targets) {
      const { mine, waits } = partOf(target, counted, gate);
      for (const id of waits) waiting.push({ target, id });
      if (mine.length === 0) continue;
      const { states } = target;
      await states.load(new Set(mine.map(({ entry }) => entry.head.entity.id)));
      const { changes, errors, moved } = foldView({ target, states, entries: mine, gate });
      staged.push(states.stage(moved));
      changed.push(changes);
      for (const { index, error } of errors) noteError(projectionErrors, index, error);
      for (const id of changes.waiting) waiting.push({ target, id });
    }
  } catch (error) {
    for (const each of staged) each.dropped();
    throw error;
  }
  const concerned =
    ordering === null
      ? []
      : await placing.concerned(
          ordering.noted,
          ordering.views.map(({ entity }) => entity),
        );
  for (const { type, id } of concerned)
    for (const target of targets)
      if (target.projection.entity === type && target.projection.orderHubs.size > 0) waiting.push({ target, id });
  return {
    ...{ entries, through, projectionErrors, views: changed, waiting, ordering },
    origins: originsOf(entries),
    placements: placementsOf(entries, judged, targets, changed),
    settlements: judged.flatMap(({ settlement }) => settlement ?? []),
    caseNotes: entries.filter((_, index) => judged[index]!.isCaseNote),
    written: () => {
      for (const each of staged) each.written();
    },
    dropped: () => {
      for (const each of staged) each.dropped();
    },
  };
}

/** The entries of a page that are folded into one view, and the parked entities that the page is about. Throws `StaleViewError` where the view cannot read an entry. */
function partOf({ projection, pins, states }: ViewTarget, counted: readonly (CountedEntry | null)[], gate: Gate) {
  const mine: { readonly entry: CountedEntry; readonly index: number }[] = [];
  const waits = new Set<string>();
  for (const [index, entry] of counted.entries()) {
    if (entry?.head.entity.type !== projection.entity) continue;
    const { schema, entity } = entry.head;
    if (!isReadable(gate, pins, schema))
      throw new StaleViewError(`${projection.name} cannot read ${schema.subject} version ${schema.version}, and is rebuilt`);
    if (states.isParked(entity.id)) waits.add(entity.id);
    else mine.push({ entry, index });
  }
  return { mine, waits };
}

/** Several views may fail at one event. */
const noteError = (errors: Map<number, string>, index: number, error: string): void => {
  const before = errors.get(index);
  errors.set(index, before === undefined ? error : `${before}; ${error}`);
};

/** What a page says of origins. */
export function originsOf(entries: readonly LogEntry[]): OriginRow[] {
  const rows = new Map<string, OriginRow>();
  for (const { head, content, clock, position, recordedAtMs } of entries) {
    const row = rows.get(head.origin) ?? {
      ...partsOf(head.origin),
      origin: head.origin,
      through: head.seq,
      position,
      events: 0,
      quarantined: 0,
      clockWrong: 0,
      firstRecordedMs: recordedAtMs,
      lastRecordedMs: recordedAtMs,
    };
    row.through = head.seq;
    row.position = position;
    row.events++;
    if (content.kind === "quarantined") row.quarantined++;
    if (clock !== null) row.clockWrong++;
    row.lastRecordedMs = recordedAtMs;
    rows.set(head.origin, row);
  }
  return [...rows.values()];
}
