import {
  type JsonObject,
  messageOf,
  OPENS_ALL,
  type Opener,
  type Position,
  type SealedHead,
  type Seq,
  TributaryError,
  type Vector,
} from "../core/index.ts";
import { type Gate, openWith } from "../gate/index.ts";
import { type Decision, decisionsOf, foldAnew, type View, waitingFor } from "../merge/engine.ts";
import {
  type AuditRow,
  auditEvent,
  countedEvents,
  type Db,
  incarnationOf,
  readersOf,
  type Trail,
  trail,
  upToCommon,
} from "../views/index.ts";
import { builtOtherwise, readWith, viewsOfType } from "./live.ts";
import { notFound, parseEntity } from "./names.ts";

/** All that is known of an entity, by its name. */
export interface EntityTrail extends Trail {
  readonly entity: string;
}

/** All events of an entity in log order, and every decision on it, as far as `opener` may see them. Throws `not-found` where the audit has nothing of it. */
export async function entityTrail(db: Db, entity: string, opener: Opener = OPENS_ALL): Promise<EntityTrail> {
  const found = await trail(db, parseEntity(entity));
  if (found === null) throw notFound(entity);
  return { entity, ...found, events: found.events.map((event) => openedRow(event, opener)) };
}

/** An event of the audit without the values that may not be seen. Of one in quarantine nothing is known to be sealed: the log has its bytes. */
function openedRow(event: AuditRow, opener: Opener): AuditRow {
  if (opener === OPENS_ALL) return event;
  const [subject = "", version = ""] = event.schema.split("@");
  const { type, origin, settled } = event;
  const head: SealedHead = {
    ...{ type, origin, seq: event.seq as Seq, entity: parseEntity(event.entity) },
    schema: { subject, version: Number(version) },
  };
  const open = (data: JsonObject) => openWith(opener, head, data);
  const own = event.data === null ? null : open(event.data);
  const released = settled?.data == null ? null : open(settled.data);
  const withheld = [...new Set([...(own?.withheld ?? []), ...(released?.withheld ?? [])])];
  return {
    ...event,
    data: own?.data ?? null,
    ...(settled === null ? {} : { settled: { ...settled, data: released?.data ?? null } }),
    ...(withheld.length === 0 ? {} : { withheld }),
  };
}

/** One event by its id, or by `origin/seq`. Throws `usage` for what does not name an event, `not-found` for one that is not in the audit. */
export async function eventRecord(db: Db, name: string, opener: Opener = OPENS_ALL): Promise<AuditRow> {
  const slash = name.lastIndexOf("/");
  const isUuid = /^[0-9a-f-]{36}$/i.test(name);
  if (!isUuid && (slash < 1 || !/^\d{1,16}$/.test(name.slice(slash + 1)))) {
    throw new TributaryError("usage", `${JSON.stringify(name)} is not an event`, "Name it by its id, or as origin/seq.");
  }
  const found = await auditEvent(db, isUuid ? { id: name } : { origin: name.slice(0, slash), seq: name.slice(slash + 1) });
  if (found === null) throw notFound(`event ${name}`);
  return openedRow(found, opener);
}

/** A row as a view showed it, or shows it, with what was contested. */
export interface RowAsOf {
  readonly view: string;
  readonly entity: string;
  /** Recorded time: only events up to this log position count, as far as all shards have come. `null`: all. */
  readonly asOf: string | null;
  /** The life of the log that `asOf` is a position of. */
  readonly incarnation: string | null;
  readonly values: JsonObject;
  readonly deleted: boolean;
  /** Columns whose values this hub may not see; they are `null`. */
  readonly withheld: readonly string[];
  readonly waitingFor: Vector;
  readonly decisions: readonly Decision[];
  readonly events: number;
  /** The event at which the row stops, because the view cannot show what this event makes of the entity; `null`: it shows all events. */
  readonly parked: { readonly event: string; readonly error: string } | null;
  /** The live view was built by another declaration. This row follows the file in projections/. */
  readonly builtOtherwise: boolean;
}

/** What the hub knew of an entity when the log ended at `asOf` (recorded time): the fold of its events up to there. */
export async function rowAsOf(
  deps: { readonly db: Db; readonly gate: Gate; readonly projections: readonly View[] },
  entity: string,
  asOf: Position | null,
  view: string | null = null,
): Promise<RowAsOf> {
  const { type, id } = parseEntity(entity);
  const [projection] = viewsOfType(deps.projections, type, view);
  const pins = (await readersOf(deps.db)).get(projection.name) ?? {};
  // Beyond the position that all shards have reached, only parts are known.
  const upTo = asOf === null ? null : await upToCommon(deps.db, asOf);
  const events = await countedEvents(deps.db, { type, id }, upTo, readWith(deps.gate, pins));
  const { steps, shown, stop } = foldAnew(
    projection,
    id,
    events.map((event) => () => event),
  );
  const last = steps.slice(0, shown).findLast(({ row }) => row !== null);
  if (last?.folded == null || last.row === null) {
    if (stop === null) throw notFound(`${entity} up to position ${asOf?.toString() ?? "the end"}`);
    throw new TributaryError(
      "projection-failed",
      `${projection.name} cannot show ${entity}: ${messageOf(stop.error)}`,
      "`tributary parked list` shows what stopped at which event.",
    );
  }
  const { values, deleted, withheld = [] } = last.row;
  const { state } = last.folded;
  return {
    view: projection.name,
    entity,
    asOf: asOf?.toString() ?? null,
    incarnation: await incarnationOf(deps.db),
    values,
    deleted,
    withheld,
    waitingFor: waitingFor(state),
    decisions: decisionsOf(projection, state),
    events: events.length,
    parked: stop === null ? null : { event: `${events[stop.at]!.origin}/${events[stop.at]!.seq}`, error: messageOf(stop.error) },
    builtOtherwise: (await builtOtherwise(deps.db, [projection])).size > 0,
  };
}
