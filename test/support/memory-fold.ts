import {
  type Bucket,
  canonicalize,
  type JsonObject,
  type LogEntry,
  POLICY_ENTITY,
  type Policy,
  policySchema,
  rolesIn,
  SITE_ENTITY,
  type Vector,
} from "../../services/core/index.ts";
import { sha256Hex } from "../../services/core/node.ts";
import type { EventRef } from "../../services/exchange/index.ts";
import type { Gate } from "../../services/gate/index.ts";
import {
  bucketOf,
  checkRow,
  decisionsOf,
  type EntityState,
  entityViews,
  fold,
  foldAnew,
  type Projection,
  rowText,
  rowWith,
  scopedViews,
  type View,
  type Withheld,
} from "../../services/merge/engine.ts";
import { pinsFor } from "../../services/projector/builds.ts";
import { toFoldEvent } from "../../services/projector/fold-event.ts";
import { entityName } from "../../services/views/feed/lines.ts";
import { caseIdOf } from "../../services/views/write/case-of.ts";

/** A row of a view, as replicas must show it. */
export interface ShownRow {
  readonly id: string;
  readonly row: ReturnType<typeof rowWith>;
  readonly waitingFor: Vector;
}

/** A hash over rows, in any order: two that show the same have the same. `there`: what is withheld from a replica, by id; it is left out. */
export const hashOfRows = (rows: readonly ShownRow[], there: ReadonlyMap<string, Withheld> = new Map()): string =>
  sha256Hex(
    rows
      .map(({ id, row, waitingFor }) =>
        there.has(id)
          ? rowText(id, row, waitingFor, there.get(id))
          : canonicalize([id, row as unknown as JsonObject, waitingFor]),
      )
      .sort()
      .join("\n"),
  );

/** An event that counts for an entity, by what it is folded as, and the events that travel for it. */
export interface Counted {
  readonly entry: LogEntry;
  readonly refs: readonly EventRef[];
}

export const refOf = ({ head: { origin, seq } }: LogEntry): EventRef => ({ origin, seq });

/** What is folded of the log, in memory. */
export function memoryFold(views: readonly View[], gate: Gate) {
  const entities = entityViews(views);
  const homes = scopedViews(views);
  const states = new Map<string, Map<string, EntityState>>(entities.map(({ name }) => [name, new Map()]));
  const counted = new Map<string, Counted[]>();
  const parked = new Set<string>();
  const cases = new Map<string, { readonly entityType: string; readonly entityId: string }>();
  const parkedName = (view: string, id: string): string => `${view}\n${id}`;

  // As a build that is begun now reads them.
  const pins = new Map(entities.map((view) => [view.name, pinsFor(gate, view)]));
  const read = (view: Projection, { entry }: Counted) => {
    if (entry.content.kind !== "accepted") throw new Error("what counts was accepted");
    return toFoldEvent(entry, entry.content.data, gate, pins.get(view.name) ?? {});
  };
  const noteCases = (view: Projection, id: string, state: EntityState): void => {
    for (const { register } of decisionsOf(view, state))
      cases.set(caseIdOf({ view: view.name, kind: "register", subject: id, rule: register }), {
        entityType: view.entity,
        entityId: id,
      });
  };
  const foldInto = (view: Projection, id: string, one: Counted): void => {
    const held = states.get(view.name)!;
    try {
      const folded = fold(view, held.get(id), read(view, one));
      if (folded === null) return;
      checkRow(view, rowWith(view, id, folded.state));
      held.set(id, folded.state);
      noteCases(view, id, folded.state);
    } catch {
      parked.add(parkedName(view.name, id));
    }
  };
  return {
    entities,
    homes,
    states,
    parked,
    cases,
    /** The bucket that an entity is in as it is folded now. */
    bucketOf(entityType: string, id: string): Bucket | null {
      const home = homes.get(entityType);
      if (home === undefined) return null;
      const state = states.get(home.name)!.get(id);
      return bucketOf(home, state === undefined ? {} : rowWith(home, id, state).values);
    },
    countedOf: (entityType: string, id: string): readonly Counted[] => counted.get(entityName(entityType, id)) ?? [],
    count(one: Counted): void {
      const { type, id } = one.entry.head.entity;
      const name = entityName(type, id);
      counted.set(name, [...(counted.get(name) ?? []), one]);
      for (const view of entities) if (view.entity === type && !parked.has(parkedName(view.name, id))) foldInto(view, id, one);
    },
    /** Folds all that counts for an entity, from its first event. */
    anew(entityType: string, id: string): void {
      const all = counted.get(entityName(entityType, id)) ?? [];
      for (const view of entities) {
        if (view.entity !== entityType) continue;
        parked.delete(parkedName(view.name, id));
        const { steps, shown, stop } = foldAnew(
          view,
          id,
          all.map((one) => () => read(view, one)),
        );
        const last = steps.slice(0, shown).findLast(({ folded }) => folded !== null)?.folded;
        if (last != null) {
          states.get(view.name)!.set(id, last.state);
          noteCases(view, id, last.state);
        }
        if (stop !== null) parked.add(parkedName(view.name, id));
      }
    },
  };
}

/** The policies that hold; one that cannot be read is left out, as the desk does. */
export function policiesIn({ homes, states }: ReturnType<typeof memoryFold>): Policy[] {
  const view = homes.get(POLICY_ENTITY)!;
  return [...states.get(view.name)!].flatMap(([name, state]) => {
    const { values, deleted } = rowWith(view, name, state);
    const read = policySchema.safeParse({ name, for: values.holders, entities: values.entities });
    return deleted || !read.success ? [] : [read.data];
  });
}

/** The roles of sites, by `org.site`. */
export function rolesOfSites({ homes, states }: ReturnType<typeof memoryFold>): ReadonlyMap<string, readonly string[]> {
  const view = homes.get(SITE_ENTITY)!;
  return new Map([...states.get(view.name)!].map(([name, state]) => [name, rolesIn(rowWith(view, name, state).values.roles)]));
}
