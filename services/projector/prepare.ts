import { type JsonObject, messageOf, type Position, partsOf, type SchemaRef } from "../core/index.ts";
import { canRead, type Gate, type Pins } from "../gate/index.ts";
import type { Log, LogEntry } from "../log/index.ts";
import {
  type Decision,
  decide,
  type EntityState,
  type FoldEvent,
  fold,
  isContested,
  type Projection,
  packState,
  type Register,
  rowOf,
  waitingFor,
} from "../merge/index.ts";
import { countedAs, type Settlements } from "./releases.ts";
import type { States } from "./states.ts";
import type { ViewRow } from "./views.ts";

export interface ViewTarget {
  readonly projection: Projection;
  readonly states: States;
  /** The versions that the view reads with. */
  readonly pins: Pins;
}

/** A version was registered that a view, as it was built, cannot read: it must be built anew. */
export class StaleViewError extends Error {}

export interface DecisionRow {
  readonly view: string;
  readonly entityId: string;
  readonly position: string;
  readonly decision: Decision;
  settledPosition: string | null;
}

export interface OriginRow {
  readonly origin: string;
  readonly org: string;
  readonly site: string;
  readonly device: string;
  through: number;
  position: string;
  events: number;
  quarantined: number;
  clockWrong: number;
  readonly firstRecordedMs: number;
  lastRecordedMs: number;
}

/** All that one transaction writes for a page of the log. */
export interface Prepared {
  readonly entries: readonly LogEntry[];
  readonly through: Position;
  /** What made a projection throw, by index into `entries`. */
  readonly projectionErrors: ReadonlyMap<number, string>;
  readonly views: ReadonlyMap<Projection, readonly ViewRow[]>;
  readonly decisions: readonly DecisionRow[];
  /** Decisions of earlier batches that an event of this one settled. */
  readonly settled: readonly {
    readonly view: string;
    readonly entityId: string;
    readonly register: string;
    readonly position: string;
  }[];
  readonly origins: readonly OriginRow[];
}

/** The event as projections see it: its data as the view's version of the schema has it. */
export function toFoldEvent({ head, clock }: LogEntry, data: JsonObject, gate: Gate, pins: Pins): FoldEvent {
  return {
    type: head.type,
    data: gate.read(head.schema, data, pins).data,
    entity: head.entity,
    actor: head.actor,
    occurredAt: head.occurredAt,
    site: partsOf(head.origin).site,
    origin: head.origin,
    seq: head.seq,
    hlc: head.hlc,
    clockWrong: clock !== null,
    basis: head.basis,
  };
}

/** Folds a page of the log into rows. Reads states from the database where they are not hot; writes nothing. */
export async function prepare(
  {
    log,
    gate,
    settled: settlements,
  }: { readonly log: Pick<Log, "readOrigin">; readonly gate: Gate; readonly settled: Settlements },
  targets: readonly ViewTarget[],
  entries: readonly LogEntry[],
  through: Position,
): Promise<Prepared> {
  const counted: (LogEntry | null)[] = [];
  for (const entry of entries) counted.push(await countedAs(log, entry, settlements));
  await gate.ensure(counted.flatMap((entry) => (entry === null ? [] : [entry.head.schema])));
  const projectionErrors = new Map<number, string>();
  const views = new Map<Projection, ViewRow[]>();
  const decisions: DecisionRow[] = [];
  const openHere = new Map<string, DecisionRow>();
  const settled: Prepared["settled"][number][] = [];

  for (const { projection, states, pins } of targets) {
    const mine = counted.filter((entry) => entry?.head.entity.type === projection.entity).map((entry) => entry!);
    for (const { head } of mine) {
      if (!isReadable(gate, pins, head.schema))
        throw new StaleViewError(
          `${projection.name} cannot read ${head.schema.subject} version ${head.schema.version}, and is built anew`,
        );
    }
    if (mine.length > 0) await states.load(new Set(mine.map(({ head }) => head.entity.id)));
  }

  const changed = new Map<Projection, Map<string, { state: EntityState; firstPosition: string; lastPosition: string }>>();
  for (const [i, entry] of counted.entries()) {
    if (entry?.content.kind !== "accepted") continue;
    const { id, type } = entry.head.entity;
    const at = entry.position.toString();
    for (const { projection, states, pins } of targets) {
      if (type !== projection.entity) continue;
      try {
        const event = toFoldEvent(entry, entry.content.data, gate, pins);
        const held = states.get(id);
        const folded = fold(projection, held?.state, event);
        if (folded === null) continue;
        const firstPosition = held?.firstPosition ?? at;
        states.set(id, { state: folded.state, firstPosition });
        const rows = changed.get(projection) ?? new Map();
        changed.set(projection, rows);
        rows.set(id, { state: folded.state, firstPosition, lastPosition: at });
        for (const name of folded.written) {
          noteDecision(
            projection,
            id,
            at,
            projection.registers.get(name)!,
            held?.state.registers[name],
            folded.state.registers[name]!,
          );
        }
      } catch (error) {
        projectionErrors.set(i, `${projection.name}: ${messageOf(error)}`);
      }
    }
  }

  function noteDecision(
    projection: Projection,
    entityId: string,
    at: string,
    rule: Parameters<typeof decide>[0],
    before: Register | undefined,
    after: Register,
  ): void {
    if (before === undefined || sameSiblings(before, after)) return;
    const key = `${projection.name}\n${entityId}\n${rule.name}`;
    if (isContested(before)) {
      const here = openHere.get(key);
      if (here !== undefined) here.settledPosition = at;
      else settled.push({ view: projection.name, entityId, register: rule.name, position: at });
      openHere.delete(key);
    }
    const decision = decide(rule, after);
    if (decision === null) return;
    const row: DecisionRow = { view: projection.name, entityId, position: at, decision, settledPosition: null };
    decisions.push(row);
    openHere.set(key, row);
  }

  for (const [projection, rows] of changed) {
    const out: ViewRow[] = [];
    for (const [id, { state, firstPosition, lastPosition }] of rows) {
      const waits = waitingFor(state);
      out.push({
        id,
        row: rowOf(projection, state),
        waitingFor: Object.keys(waits).length === 0 ? null : JSON.stringify(waits),
        firstPosition,
        lastPosition,
        state: packState(state),
      });
    }
    views.set(projection, out);
  }
  return { entries, through, projectionErrors, views, decisions, settled, origins: originsOf(entries) };
}

const readable = new WeakMap<Gate, Map<string, boolean>>();

/** Whether a view with these pins can read what is written with a schema. Compared once for each pair of versions. */
export function isReadable(gate: Gate, pins: Pins, { subject, version }: SchemaRef): boolean {
  const pinned = pins[subject];
  // A subject that was not there when the view was built: the view must be built with it.
  if (pinned === undefined) return !gate.knows({ subject, version });
  if (version <= pinned) return true;
  const versions = gate.store.versions(subject);
  const [reader, writer] = [versions[pinned - 1], versions[version - 1]];
  if (reader === undefined || writer === undefined) return true;
  const known = readable.get(gate) ?? new Map<string, boolean>();
  readable.set(gate, known);
  const key = `${subject}:${pinned}<${version}`;
  let answer = known.get(key);
  if (answer === undefined) {
    answer = canRead(reader, writer, gate.casters);
    known.set(key, answer);
  }
  return answer;
}

const sameSiblings = (a: Register, b: Register): boolean =>
  a.siblings.length === b.siblings.length &&
  a.siblings.every(({ by }, i) => by.origin === b.siblings[i]!.by.origin && by.seq === b.siblings[i]!.by.seq);

function originsOf(entries: readonly LogEntry[]): OriginRow[] {
  const rows = new Map<string, OriginRow>();
  for (const { head, content, clock, position, recordedAtMs } of entries) {
    const row = rows.get(head.origin) ?? {
      ...partsOf(head.origin),
      origin: head.origin,
      through: head.seq,
      position: position.toString(),
      events: 0,
      quarantined: 0,
      clockWrong: 0,
      firstRecordedMs: recordedAtMs,
      lastRecordedMs: recordedAtMs,
    };
    row.through = head.seq;
    row.position = position.toString();
    row.events++;
    if (content.kind === "quarantined") row.quarantined++;
    if (clock !== null) row.clockWrong++;
    row.lastRecordedMs = recordedAtMs;
    rows.set(head.origin, row);
  }
  return [...rows.values()];
}
