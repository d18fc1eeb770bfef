import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, beforeAll, expect } from "vitest";
import { type Part, verify } from "../../services/audit/index.ts";
import {
  eventIdOf,
  eventText,
  type Hash,
  type LogEntry,
  type OriginId,
  type Position,
  wallMsOf,
} from "../../services/core/index.ts";
import { chainHash } from "../../services/core/node.ts";
import { type Backend, portOf } from "../../services/local/index.ts";
import { textOf } from "../../services/log/index.ts";
import { rebuild, reconcile } from "../../services/projector/index.ts";
import { alone, connectViews } from "../../services/views/index.ts";
import { dayOf, handout, random } from "../support/books.ts";
import { number, openTestHub, registration, type TestHub, update } from "../support/hub.ts";
import { change, oldWriter, person } from "../support/oldlog.ts";
import { startStore } from "../support/servers.ts";
import { eventually } from "../support/temp.ts";

export const SEED = Number(process.env.TRIBUTARY_TEST_SEED ?? Date.now() % 100_000);
export const PERSON = number(900);
export const GIVEN = "DST-GIVEN";

export let hub: TestHub;
let store: Backend;
/** An origin with signatures, and one without any. */
export let signed: OriginId;
export let unsigned: OriginId;
/** An origin whose only event is held in quarantine. */
export let held: OriginId;

/** One hub for all tests of a file: a day's distributions, a person with a history, and three origins. */
export function useVerifiedHub(): void {
  beforeAll(async () => {
    hub = await openTestHub();
    store = hub.backends.eventstore;
    const field = hub.field("juba");
    await field.appendMany([
      registration(PERSON, { village: "Munuki" }),
      handout(GIVEN, { quantity: 12.5 }),
      update(PERSON, { phone: "+254700000001" }),
      update(PERSON, { phone: "+254700000002" }),
    ]);
    await field.sync({ url: hub.backends.nats.url, token: await hub.token("juba") });
    await field.appendMany(dayOf(random(SEED), 60));
    await field.sync({ url: hub.backends.nats.url, token: await hub.token("juba") });
    signed = field.store.current().name;
    const old = oldWriter(hub.log, "old");
    unsigned = old.origin;
    await old.append(
      person(number(901)),
      change(number(901), { phone: "+254711111111" }),
      change(number(901), { village: "Gudele" }),
    );
    const wrong = oldWriter(hub.log, "wrong");
    held = wrong.origin;
    await wrong.append(person(number(902), { sex: "unclear" }, { quarantined: "event-invalid" }));
    await hub.projected();
  });
  afterAll(async () => {
    await store?.close();
    await hub?.close();
  });
}

export const check = () => verify({ log: hub.log, views: { db: hub.db, gate: hub.gate, projections: hub.projections } });
export const bad = (report: Awaited<ReturnType<typeof check>>): Part[] =>
  (Object.keys(report.verdicts) as Part[]).filter((part) => report.verdicts[part].state === "bad");

let tampering = 0;
/** Alters a table while the work runs, as anybody who can write to it may, and restores it afterwards. */
export async function tampered<T>(table: string, sql: string, work: () => Promise<T>): Promise<T> {
  const kept = `kept${++tampering}`;
  await hub.db.query(`CREATE TEMPORARY TABLE ${kept} AS SELECT * FROM ${table}`);
  try {
    expect((await hub.db.query(sql)).rowCount).toBeGreaterThan(0);
    return await work();
  } finally {
    await hub.db.query(`DELETE FROM ${table}`);
    await hub.db.query(`INSERT INTO ${table} SELECT * FROM ${kept}`);
    await hub.db.query(`DROP TABLE ${kept}`);
  }
}

interface Row {
  readonly position: number;
  readonly message: Uint8Array;
  readonly id: string;
}

/** Alters the event store's files while it is stopped, as anybody who can write to them may. Then the store runs again, and afterwards everything is as it was. */
export async function rewritten<T>(change: (files: DatabaseSync) => void, work: () => Promise<T>): Promise<T> {
  const port = portOf(store.url);
  const withFiles = async (what: (files: DatabaseSync) => void): Promise<void> => {
    await store.close();
    const files = new DatabaseSync(join(hub.dir, "eventstore", "events.db"));
    what(files);
    files.close();
    store = await startStore(hub.dir, port);
    // Whoever asked while it was away has left the client waiting before it connects again.
    await eventually("an answer of the store", async () => (await hub.log.end()) !== null);
  };
  await withFiles((files) => {
    files.exec("CREATE TABLE kept_event AS SELECT * FROM event; CREATE TABLE kept_stream AS SELECT * FROM stream");
    change(files);
  });
  try {
    return await work();
  } finally {
    await withFiles((files) =>
      files.exec(
        "DELETE FROM event; INSERT INTO event SELECT * FROM kept_event; DELETE FROM stream; INSERT INTO stream SELECT * FROM kept_stream; DROP TABLE kept_event; DROP TABLE kept_stream",
      ),
    );
  }
}

/** Replaces texts of the same length in a stored event. */
export function put(files: DatabaseSync, position: Position, changes: readonly (readonly [string, string])[]): void {
  const { message, id } = files
    .prepare("SELECT position, message, id FROM event WHERE position = ?")
    .get(Number(position)) as unknown as Row;
  const bytes = Buffer.from(message);
  let newId = id;
  for (const [before, after] of changes) {
    expect(Buffer.byteLength(after)).toBe(Buffer.byteLength(before));
    for (let at = bytes.indexOf(before); at >= 0; at = bytes.indexOf(before, at + 1)) bytes.write(after, at);
    newId = newId.replace(before, after);
  }
  files.prepare("UPDATE event SET message = ?, id = ? WHERE position = ?").run(bytes, newId, Number(position));
}

export const entriesOf = async (origin: OriginId): Promise<LogEntry[]> => {
  const entries: LogEntry[] = [];
  for await (const entry of hub.log.readOrigin(origin)) entries.push(entry);
  return entries;
};

/** Alters an event's text, and computes its hash, all hashes after it and the ids again. */
export function withHashes(files: DatabaseSync, entries: readonly LogEntry[], seq: number, before: string, after: string): void {
  let prev: Hash | null = null;
  for (const { head, content, position } of entries.slice(seq)) {
    const text = head.seq === seq ? textOf(content).replace(before, after) : textOf(content);
    const hash: Hash = chainHash(prev ?? head.prev, eventText(head, text));
    const changes: [string, string][] = [
      [head.hash, hash],
      [head.id, eventIdOf(wallMsOf(head.hlc), hash)],
    ];
    if (prev !== null) changes.push([head.prev, prev]);
    if (head.seq === seq) changes.push([before, after]);
    put(files, position, changes);
    prev = hash;
  }
}

/** Makes all views, with their past, what the log gives now. */
export async function repairViews(): Promise<void> {
  const db = await connectViews(hub.backends.postgres.url, "tributary-test-repair");
  try {
    const names = hub.projections.map(({ name }) => name);
    const deps = { db, reader: hub.db, log: hub.log, gate: hub.gate, views: hub.projections };
    await alone(db, true, () => reconcile(deps, { names, repair: true }));
    await alone(db, true, () => rebuild(deps, { names }));
  } finally {
    await db.end();
  }
}
