/** The views that a device folds: their tables are made when they are first seen, and made and filled anew when their declaration changes, or the versions of schemas that they read with. */
import { canonicalize } from "../../core/index.ts";
import type { Gate, Pins } from "../../gate/index.ts";
import { entityViews, type Projection, shapeDigest, type View } from "../../merge/engine.ts";
import type { Store } from "../store.ts";
import type { OpenView } from "./entities.ts";
import { preparer } from "./prepared.ts";
import type { ReplicaRows, ViewRow } from "./rows.ts";
import { addWithheld, dropTables, makeTables, openViewRows } from "./view-rows.ts";

export interface Views {
  all(): readonly OpenView[];
  of(type: string): readonly OpenView[];
  named(name: string): OpenView | undefined;
  /** Opens all views, inside the caller's transaction; returns those whose rows must be folded again. */
  open(): readonly OpenView[];
  /** Notes by which declarations the hub folds. Returns whether that is news. */
  compare(shapes: Readonly<Record<string, string>>): boolean;
  /** Has these open again, as `all` gave them: the transaction that changed them was undone. */
  restore(before: readonly OpenView[]): void;
}

/** Entities of views that count or compare more than a device holds are not folded on it. */
const foldedHere = (views: readonly View[]): readonly Projection[] => entityViews(views).filter(({ hubOnly }) => !hubOnly);

/** The versions in which the hub's views read events where these are older than the newest, as a page told them; by view. */
export type ToldReaders = () => Readonly<Record<string, Pins>>;

/** The versions that a view reads its events in: the newest that the device knows, unless its hub reads in older ones. */
function readersOf(
  gate: Pick<Gate, "pins" | "store">,
  { name, eventTypes }: Projection,
  told: Readonly<Record<string, Pins>>,
): Pins {
  const pins = { ...gate.pins(), ...told[name] };
  const feeds = (subject: string): boolean =>
    gate.store.versions(subject).some(({ annotations }) => annotations.events.some((type) => eventTypes.has(type)));
  return Object.fromEntries(Object.entries(pins).filter(([subject]) => feeds(subject)));
}

/** Where the store notes which hub the replica is of, by the id of its log's first incarnation. */
export const HUB = "replica_hub";

/** What else a view's rows follow from: in which versions its events are read, and what of them may be seen. */
const readersText = ({ rights }: Pick<Gate, "rights">, readers: Pins): string =>
  `${canonicalize(readers)}${rights === "" ? "" : ` ${rights}`}`;

// Long because its six ways of looking at the open views share them, and opening replaces them.
export function openViews(
  {
    store,
    rows,
    gate,
    told,
  }: {
    readonly store: Store;
    readonly rows: ReplicaRows;
    readonly gate: Pick<Gate, "pins" | "store" | "rights">;
    readonly told: ToldReaders;
  },
  views: readonly View[],
): Views {
  const folded = foldedHere(views);
  let open: readonly OpenView[] = [];
  let byType = new Map<string, OpenView[]>();
  const set = (all: readonly OpenView[]): void => {
    open = all;
    byType = Map.groupBy(all, ({ view }) => view.entity) as Map<string, OpenView[]>;
  };
  return {
    all: () => open,
    of: (type) => byType.get(type) ?? [],
    named: (name) => open.find(({ view }) => view.name === name),
    open() {
      const before = new Map(rows.views().map((row) => [row.name, row]));
      for (const name of before.keys())
        if (!folded.some((view) => view.name === name)) {
          dropTables(store.db, name);
          rows.removeView(name);
        }
      const anew: OpenView[] = [];
      const all = folded.map((view): OpenView => {
        const known = before.get(view.name);
        const readers = readersOf(gate, view, told());
        const now: ViewRow = {
          name: view.name,
          shape: shapeDigest(view),
          readers: readersText(gate, readers),
          isOlder: known?.isOlder ?? false,
        };
        const isSame = known !== undefined && known.shape === now.shape && known.readers === now.readers;
        if (!isSame) {
          makeTables(store.db, view);
          rows.setView(now);
        } else addWithheld(store.db, view.name);
        const there = isSame ? open.find((each) => each.view === view) : undefined;
        const opened = there ?? {
          view,
          readers,
          home: () => store.meta(HUB),
          shape: now.shape,
          isOlder: now.isOlder,
          rows: openViewRows(view, preparer(store.db)),
        };
        if (!isSame) anew.push(opened);
        return opened;
      });
      set(all);
      return anew;
    },
    compare(shapes) {
      let isNews = false;
      set(
        open.map((each) => {
          const theirs = shapes[each.view.name];
          // Pages name the shapes of what they bring.
          if (theirs === undefined) return each;
          const isOlder = theirs !== each.shape;
          if (isOlder === each.isOlder) return each;
          isNews = true;
          rows.setView({ name: each.view.name, shape: each.shape, readers: readersText(gate, each.readers), isOlder });
          return { ...each, isOlder };
        }),
      );
      return isNews;
    },
    restore: set,
  };
}
