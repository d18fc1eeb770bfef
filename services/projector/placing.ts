/**
 * Places in hubs' orders, while a page is folded. What a hub let in itself has its place at once. What another hub let in has it once that hub has noted it: then the entities concerned are
 * folded again. A build knows all notes that the live views know, so it need fold again only for those that come while it is built.
 */
import {
  type CountedEntry,
  type EntityRef,
  type IncarnationId,
  type LogEntry,
  orderedRunOf,
  type PlacedRun,
  type Places,
  type Position,
  placedIndex,
  placesOf,
  type TakenIn,
} from "../core/index.ts";
import type { Projection } from "../merge/engine.ts";
import { type Db, entitiesPlaced, homeHub, type Ordering, placedRuns } from "../views/index.ts";

export interface Placing {
  /** The places of an entry, as far as they are known. */
  places(entry: LogEntry): Places | undefined;
  /** The run that an entry places; `null`: it places none, or this was known before. */
  noted(entry: LogEntry): PlacedRun | null;
  /** The entities of these types that runs concern and that must be folded again now; empty where they are asked for in the database. */
  concerned(runs: readonly PlacedRun[], types: readonly string[]): Promise<readonly EntityRef[]>;
}

const takenIn = (home: IncarnationId | null, { taken, position }: LogEntry): TakenIn | null =>
  taken ?? (home === null ? null : { hub: home, position });

function runIn(home: IncarnationId | null, entry: LogEntry): PlacedRun | null {
  const { head, content } = entry;
  const run = content.kind === "accepted" ? orderedRunOf(head, content.data) : null;
  const by = run === null ? null : takenIn(home, entry);
  return run === null || by === null || by.position === null ? null : { ...run, hub: by.hub, position: by.position };
}

/** For live views. Which notes there are is asked in the transaction that writes the page: other processes write notes, too. */
export function livePlacing(home: IncarnationId | null): Placing {
  return {
    places: (entry) => placesOf(entry.head, takenIn(home, entry), []),
    noted: (entry) => runIn(home, entry),
    concerned: async () => [],
  };
}

/** For builds, and for whoever folds the log again: with all notes up to a position (`null`: all that there are). */
export async function fullPlacing(db: Db, upTo: Position | null): Promise<Placing> {
  const [home, runs] = [await homeHub(db), placedIndex(await placedRuns(db, upTo))];
  const isKnown = ({ origin, hub, position, from, through }: PlacedRun): boolean =>
    runs
      .over({ origin, seq: from })
      .some((run) => run.hub === hub && run.position === position && run.from === from && run.through === through);
  return {
    places: (entry) => placesOf(entry.head, takenIn(home, entry), runs.over(entry.head)),
    noted(entry) {
      const run = runIn(home, entry);
      return run === null || isKnown(run) ? null : run;
    },
    async concerned(noted, types) {
      for (const run of noted) runs.add(run);
      return entitiesPlaced(db, noted, types);
    },
  };
}

/** The views that look in the orders of hubs that their rules name. */
export const namingHubs = (views: readonly Projection[]): Projection[] => views.filter(({ orderHubs }) => orderHubs.size > 0);

/** A page's entries as they count, with their places where some view asks for them. */
export function withPlaces(
  placing: Placing,
  views: readonly Projection[],
  entries: readonly LogEntry[],
  counted: readonly (LogEntry | null)[],
): readonly (CountedEntry | null)[] {
  const types = new Set(namingHubs(views).map(({ entity }) => entity));
  return counted.map((entry, i) =>
    entry === null || !types.has(entry.head.entity.type) ? entry : { ...entry, places: placing.places(entries[i]!) },
  );
}

/** What a page says of the orders that views name; `null`: nothing, or no view names one. */
export function orderingOf(
  placing: Placing,
  views: readonly Projection[],
  entries: readonly LogEntry[],
  counted: readonly (CountedEntry | null)[],
): (Ordering & { readonly noted: readonly PlacedRun[] }) | null {
  const naming = namingHubs(views);
  if (naming.length === 0) return null;
  const hubs = new Set(naming.flatMap(({ orderHubs }) => [...orderHubs]));
  const noted = entries.flatMap((entry) => placing.noted(entry) ?? []).filter(({ hub }) => hubs.has(hub));
  const lacks = (entry: CountedEntry): boolean =>
    naming.some(
      ({ entity, orderHubs }) =>
        entity === entry.head.entity.type && [...orderHubs].some((hub) => entry.places?.[hub] === undefined),
    );
  const unplaced = entries.flatMap(({ head: { origin, seq } }, i) => {
    const entry = counted[i];
    return entry != null && lacks(entry) ? [{ origin, seq }] : [];
  });
  if (noted.length === 0 && unplaced.length === 0) return null;
  return { noted, unplaced, views: naming.map(({ name, entity }) => ({ view: name, entity })) };
}
