/** What an app and a person read of a replica: rows, their changes, histories, stories and open conflicts. Nothing here waits for a network. */
import { type EntityRef, TributaryError } from "../../core/index.ts";
import type { Gate } from "../../gate/index.ts";
import { entityViews, type Projection, type View } from "../../merge/engine.ts";
import type { Store } from "../store.ts";
import { type LooseRow, openAsker } from "./ask.ts";
import type { LooseQuery } from "./query.ts";
import { openReplicaRows } from "./rows.ts";
import { type EntityEvent, type Explained, type OpenConflict, openStories } from "./stories.ts";
import type { Replica } from "./types.ts";
import { type ViewTable, viewTable } from "./view-table.ts";
import { openWatches } from "./watch.ts";

export interface Reader {
  query(view: string, query?: LooseQuery): LooseRow[];
  watch(view: string, query: LooseQuery, listener: (rows: readonly LooseRow[]) => void): () => void;
  history(entity: EntityRef): readonly EntityEvent[];
  explain(entity: EntityRef, of?: { readonly view?: string; readonly field?: string }): readonly Explained[];
  conflicts(view?: string): readonly OpenConflict[];
  /** The views that this device folds. */
  views(): readonly Projection[];
  /** Tells watchers what has changed since it was called last. */
  tell(): void;
  /** Tells watchers that anything may have changed. */
  tellAll(): void;
  close(): void;
}

export interface ReaderDeps {
  readonly store: Store;
  readonly gate: Pick<Gate, "open" | "openAs">;
  readonly replica: Pick<Replica, "history" | "state" | "changes" | "index">;
  /** All views that the app declares: also those that are not folded here, so that these can be refused by name. */
  readonly declared: readonly View[];
}

export function openReader({ store, gate, replica, declared }: ReaderDeps): Reader {
  const folded = entityViews(declared).filter(({ hubOnly }) => !hubOnly);
  const rows = openReplicaRows(store.db);
  const asker = openAsker(store.db, replica.index);
  const isOlder = (name: string): boolean => rows.views().some((row) => row.name === name && row.isOlder);
  const stories = openStories({ replica, gate, views: folded, isOlder });
  const watches = openWatches(rows.version, (error) => process.emitWarning(error instanceof Error ? error : String(error)));
  const tables = new Map<string, ViewTable>();
  const viewNamed = (name: string): Projection => {
    const found = folded.find((view) => view.name === name);
    if (found !== undefined) return found;
    const other = declared.find((view) => view.name === name);
    throw new TributaryError(
      "usage",
      other === undefined
        ? `there is no view ${JSON.stringify(name)} on this device`
        : `${name} is kept at the hub only: ${whyNot(other)}`,
      folded.length === 0
        ? "Open the database with openField({ views: […] }): then it folds them."
        : `There are: ${folded.map((view) => view.name).join(", ")}.`,
    );
  };
  const tableOf = (name: string): ViewTable => {
    const view = viewNamed(name);
    const older = isOlder(name);
    const known = tables.get(name);
    if (known !== undefined && known.same._olderRules === older) return known;
    const table = viewTable(view, older);
    tables.set(name, table);
    return table;
  };
  const query = (view: string, asked: LooseQuery = {}): LooseRow[] => asker.rows(tableOf(view), asked);
  const contested = (view: Projection): string[] =>
    query(view.name, { where: { conflicts: { gt: 0 }, deleted: [true, false] } }).map(({ id }) => id);

  return {
    query,
    watch: (view, asked, listener) => watches.add(view, () => query(view, asked), listener),
    history: stories.history,
    explain: stories.explain,
    conflicts: (view) =>
      (view === undefined ? folded : [viewNamed(view)]).flatMap((each) => stories.conflicts(each, contested(each))),
    views: () => folded,
    tell() {
      const changes = replica.changes();
      if (changes.size > 0) watches.changed(new Set(changes.keys()));
    },
    tellAll() {
      replica.changes();
      watches.changed(null);
    },
    close: watches.close,
  };
}

/** Why a device does not fold a view. */
function whyNot(view: View): string {
  if (view.kind === "totals") return "totals add up rows that a device may not hold";
  if (view.kind === "sql") return "it is SQL over the hub's tables";
  return `it counts or compares ${view.entity} entities that a device may not hold`;
}
