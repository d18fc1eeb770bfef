import type { Client } from "pg";
import {
  canonicalize,
  eventIdOf,
  eventText,
  GENESIS,
  type Hash,
  type OriginId,
  type Position,
  type PublicKey,
  wallMsOf,
} from "../core/index.ts";
import { chainHash } from "../core/node.ts";
import type { Gate, Pins } from "../gate/index.ts";
import { type Log, type LogEntry, textOf } from "../log/index.ts";
import {
  checkRow,
  type EntityState,
  entityViews,
  type FullRow,
  fold,
  type Projection,
  rowWith,
  type View,
  waitingFor,
} from "../merge/index.ts";
import { asPosition, countedAs, settlements, toFoldEvent } from "../projector/index.ts";
import { readersOf } from "./events.ts";
import { builtOtherwise } from "./live.ts";
import { type SignatureReport, signatureCheck } from "./signatures.ts";
import { readColumns } from "./try.ts";

/** Problems listed at most; all are counted. */
const MAX_LISTED = 100;
const PROGRESS_EVERY = 1_000;

export interface Problem {
  readonly where: string;
  readonly what: string;
}

/** An entity that stopped at an event: told of, and nothing that was broken. */
export interface Parked {
  readonly view: string;
  readonly entity: string;
  /** `origin/seq`. */
  readonly event: string;
  readonly position: string;
  readonly error: string;
}

export interface OriginReport {
  readonly origin: string;
  readonly events: number;
  readonly quarantined: number;
  readonly head: Hash;
  readonly chainIntact: boolean;
}

export interface VerifyReport {
  readonly events: number;
  readonly origins: readonly OriginReport[];
  readonly chainsIntact: boolean;
  /** The last position looked at. */
  readonly through: string | null;
  /** Entities whose view row was compared with the fold of the log; `null` when views were not asked for. */
  readonly rowsCompared: number | null;
  /** Views that were left out: declared otherwise than the live ones were built, their rows cannot be what the declaration gives. */
  readonly notCompared: readonly string[];
  readonly signatures: SignatureReport;
  /** Entities whose rows were left out: they are parked, with the reason. */
  readonly parked: readonly Parked[];
  readonly problemCount: number;
  readonly problems: readonly Problem[];
}

export interface VerifyDeps {
  readonly log: Log;
  /** Given: views and audit rows are compared as well, up to the projector's checkpoint. */
  readonly views?: {
    readonly db: Client;
    readonly gate: Gate;
    readonly projections: readonly View[];
    /** The declarations are known to be those that the views were built with, whatever the text of their functions has become on the way. */
    readonly isSame?: boolean;
  };
  /** The hub's public keys, from elsewhere than the log: what the log says about keys is checked with them. */
  readonly hubKeys?: readonly PublicKey[];
  readonly onProgress?: (events: number) => void;
  /** Told of every event, for a caller's own checks in the same pass. */
  readonly onEntry?: (entry: LogEntry) => void;
}

/**
 * Reads the whole log and checks that each origin's events stand in order, once, and chained; that ids follow from content; and, when
 * views are given, that the audit has each event once and each view row is what folding the log gives.
 */
export async function verify({ log, views, hubKeys, onProgress, onEntry }: VerifyDeps): Promise<VerifyReport> {
  const problems: Problem[] = [];
  let problemCount = 0;
  const report = (where: string, what: string): void => {
    problemCount++;
    if (problems.length < MAX_LISTED) problems.push({ where, what });
  };
  const origins = new Map<OriginId, { events: number; quarantined: number; head: Hash; intact: boolean }>();
  const declared = entityViews(views?.projections ?? []);
  const leftOut = views === undefined || views.isSame === true ? new Set<string>() : await builtOtherwise(views.db, declared);
  const states = new Map<Projection, Map<string, EntityState | Unfolded>>(
    declared.filter(({ name }) => !leftOut.has(name)).map((projection) => [projection, new Map()]),
  );
  const checkpoint = views === undefined ? null : await checkpointOf(views.db);
  const pins = views === undefined ? new Map<string, Pins>() : await readersOf(views.db);
  const settled = settlements();
  const signatures = await signatureCheck(log, report, hubKeys);
  const parked = views === undefined ? [] : await parkedNow(views.db);
  const parkedAt = new Set(parked.map(({ event }) => event));
  const met = new Set<string>();
  let events = 0;
  let audited = 0;
  let through: Position | null = null;

  for await (const entry of log.readAll()) {
    events++;
    through = entry.position;
    onEntry?.(entry);
    signatures.entry(entry);
    const { head } = entry;
    const origin = origins.get(head.origin) ?? { events: 0, quarantined: 0, head: GENESIS, intact: true };
    origins.set(head.origin, origin);
    const wrong = linkProblem(entry, origin);
    if (wrong !== null) {
      origin.intact = false;
      report(`${head.origin}/${head.seq}`, wrong);
    }
    origin.events++;
    origin.head = head.hash;
    if (entry.content.kind === "quarantined") origin.quarantined++;
    if (parkedAt.has(`${head.origin}/${head.seq}`)) met.add(`${head.origin}/${head.seq}`);
    if (views !== undefined && checkpoint !== null && entry.position <= checkpoint) {
      audited++;
      const counted = await countedAs(log, entry, settled);
      if (counted?.content.kind === "accepted") foldInto(states, counted, counted.content.data, views.gate, pins);
    }
    if (events % PROGRESS_EVERY === 0) onProgress?.(events);
  }

  let rowsCompared: number | null = null;
  if (views !== undefined) {
    rowsCompared = 0;
    await compareAudit(views.db, checkpoint, audited, report);
    for (const each of parked)
      if (!met.has(each.event))
        report(`${each.view}/${each.entity}`, `it is parked at ${each.event}, which the log does not have`);
    for (const [projection, entities] of states)
      rowsCompared += await compareView(views.db, projection, entities, parkedIn(parked, projection.name), report);
  }
  const signed = signatures.end();
  return {
    events,
    origins: [...origins].map(([origin, { events, quarantined, head, intact }]) => ({
      origin,
      events,
      quarantined,
      head,
      chainIntact: intact,
    })),
    chainsIntact: [...origins.values()].every(({ intact }) => intact),
    through: through?.toString() ?? null,
    rowsCompared,
    notCompared: [...leftOut],
    signatures: signed,
    parked,
    problemCount,
    problems,
  };
}

function linkProblem({ head, content }: LogEntry, before: { readonly events: number; readonly head: Hash }): string | null {
  if (head.seq !== before.events) return `seq ${head.seq} stands where ${before.events} should: an event is missing or doubled`;
  if (head.prev !== before.head) return `its prev is not the hash of the event before`;
  if (chainHash(head.prev, eventText(head, textOf(content))) !== head.hash)
    return "its hash does not fit its content: it was altered";
  return eventIdOf(wallMsOf(head.hlc), head.hash) === head.id ? null : "its id does not follow from its hash";
}

/** The row that a state shows; `null` where the declaration cannot show it. */
function expectedRow(projection: Projection, id: string, state: EntityState): FullRow | null {
  try {
    const row = rowWith(projection, id, state);
    checkRow(projection, row);
    return row;
  } catch {
    return null;
  }
}

type Report = (where: string, what: string) => void;

/** An entity with an event that its view cannot fold. */
interface Unfolded {
  readonly event: string;
  readonly error: string;
}
const isUnfolded = (state: EntityState | Unfolded | undefined): state is Unfolded => state !== undefined && "error" in state;

function foldInto(
  states: ReadonlyMap<Projection, Map<string, EntityState | Unfolded>>,
  entry: LogEntry,
  data: Parameters<typeof toFoldEvent>[1],
  gate: Gate,
  pins: ReadonlyMap<string, Pins>,
): void {
  for (const [projection, entities] of states) {
    if (projection.entity !== entry.head.entity.type) continue;
    const { id } = entry.head.entity;
    const state = entities.get(id);
    if (isUnfolded(state)) continue;
    try {
      // As it is folded anew: what a later event has corrected need not fit, only what is shown.
      const event = toFoldEvent(entry, data, gate, pins.get(projection.name) ?? {});
      const folded = fold(projection, state, event, { isLenient: true });
      if (folded !== null) entities.set(id, folded.state);
    } catch (error) {
      entities.set(id, { event: `${entry.head.origin}/${entry.head.seq}`, error: (error as Error).message });
    }
  }
}

async function parkedNow(db: Client): Promise<Parked[]> {
  const { rows } = await db.query<Parked & Record<string, unknown>>(
    `SELECT p.view, p.entity_id AS entity, p.origin || '/' || p.seq AS event, p.position::text, p.error FROM tributary.parked p
     JOIN tributary.generation g USING (view, generation) WHERE g.state = 'live' ORDER BY p.position, p.view`,
  );
  return rows;
}

/** What is parked in a view, by the name that the database has of it. */
const parkedIn = (parked: readonly Parked[], view: string): ReadonlySet<string> =>
  new Set(parked.filter((each) => each.view === view).map(({ entity }) => entity));
/** PostgreSQL's text has no U+0000. */
const asKept = (id: string): string => id.replaceAll("\0", "\uFFFD");

async function checkpointOf(db: Client): Promise<Position | null> {
  const { rows } = await db.query<{ position: string | null }>("SELECT position FROM tributary.checkpoint WHERE name = 'main'");
  return asPosition(rows[0]?.position);
}

async function compareAudit(db: Client, checkpoint: Position | null, expected: number, report: Report): Promise<void> {
  const { rows } = await db.query<{ count: string; distinct: string }>(
    "SELECT count(*) AS count, count(DISTINCT (origin, seq)) AS distinct FROM tributary.audit WHERE position <= $1",
    [checkpoint?.toString() ?? "-1"],
  );
  const { count, distinct } = rows[0]!;
  if (Number(count) !== expected || Number(distinct) !== expected) {
    report("audit", `${count} rows for ${expected} events: the audit does not hold each event once`);
  }
}

async function compareView(
  db: Client,
  projection: Projection,
  entities: ReadonlyMap<string, EntityState | Unfolded>,
  parked: ReadonlySet<string>,
  report: Report,
): Promise<number> {
  const columns = readColumns(projection);
  const { rows } = await db.query<Record<string, unknown>>(
    `SELECT id, ${columns.join(", ")}, deleted, conflicts, waiting_for FROM views."${projection.name}"`,
  );
  const seen = new Set<string>();
  for (const { id, deleted, conflicts, waiting_for, ...values } of rows) {
    const key = String(id);
    seen.add(key);
    const state = entities.get(key);
    if (state === undefined) {
      report(`${projection.name}/${key}`, "the view has a row that the log does not explain");
      continue;
    }
    if (parked.has(key)) continue;
    if (isUnfolded(state)) {
      report(state.event, `${projection.name} cannot fold it, and it is not parked: ${state.error}`);
      continue;
    }
    const expected = expectedRow(projection, key, state);
    if (expected === null) {
      report(`${projection.name}/${key}`, "what folding the log gives cannot be shown, and it is not parked");
      continue;
    }
    const waits = waitingFor(state);
    const wanted = canonicalize({
      values: expected.values,
      deleted: expected.deleted,
      conflicts: expected.conflicts,
      waiting: Object.keys(waits).length === 0 ? null : waits,
    });
    if (canonicalize({ values, deleted, conflicts, waiting: waiting_for }) !== wanted) {
      report(`${projection.name}/${key}`, "the view's row is not what folding the log gives");
    }
  }
  for (const key of entities.keys())
    if (!seen.has(key) && !parked.has(asKept(key))) report(`${projection.name}/${key}`, "the view lacks a row that the log has");
  return seen.size;
}
