import { afterAll, beforeAll, expect, it } from "vitest";
import { type EventHead, type LogEntry, type OriginId, type Position, position, type Seq } from "../../services/core/index.ts";
import { copyText } from "../../services/views/copy.ts";
import { countedEvents, type Db, eventNamesOf, migrate } from "../../services/views/index.ts";
import { copyAudit } from "../../services/views/write/audit.ts";
import { AUDIT, copyTo, HELD_COLUMNS } from "../../services/views/write/audit-row.ts";
import { placeholders, withPlaceholders } from "../../services/views/write/placeholders.ts";
import { writeQuarantine } from "../../services/views/write/quarantine.ts";
import { settleQuarantine } from "../../services/views/write/settlement.ts";
import { openPostgres } from "../support/postgres.ts";
import { HEAD } from "../support/ranges.ts";

let postgres: Awaited<ReturnType<typeof openPostgres>>;
let db: Db;
beforeAll(async () => {
  postgres = await openPostgres();
  db = postgres.db;
  await migrate(db);
});
afterAll(() => postgres?.close());

const PERSON = { type: "person", id: "p1" };
const HUB = "relief.hub.console.ddd";
const originOf = (name: string): OriginId => (name === "hub" ? HUB : `relief.juba.${name}.aaa`) as OriginId;

/** An event in the log, `name/seq` at a position. */
function entry(name: string, at: number, more: Partial<LogEntry> = {}, seq = 0): LogEntry {
  const entity = name === "hub" ? { type: "quarantine", id: String(seq) } : PERSON;
  const hash = `${name}${seq}`.padEnd(64, "0");
  const head = {
    ...HEAD,
    origin: originOf(name),
    seq: seq as Seq,
    entity,
    hash,
    prev: hash,
    id: uuid(at),
  } as unknown as EventHead;
  const content = { kind: "accepted", data: { name } } as const;
  return { head, content, clock: null, position: position(BigInt(at)), recordedAtMs: at, ...more };
}
const uuid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const held: Partial<LogEntry> = {
  content: { kind: "quarantined", reason: { code: "schema-mismatch", message: "no", path: null }, text: "{}" },
};
const bare = (of: LogEntry): Promise<void> => copyText(db, copyTo(AUDIT, HELD_COLUMNS), placeholders(of, undefined, true));

/** The hub's release or rejection of an event, in the log and in the tables. */
async function settled(
  of: LogEntry,
  at: number,
  how: { readonly seq: number; readonly rejects?: true; readonly isBare?: true; readonly hash?: string },
): Promise<void> {
  const by = entry("hub", at, {}, how.seq);
  const release = { schema: HEAD.schema, data: { name: "released" }, note: null };
  await copyAudit(db, { entries: [by], projectionErrors: new Map() });
  const { origin, seq, hash } = of.head;
  const name = { origin, seq, hash: (how.hash ?? hash) as typeof hash };
  await settleQuarantine(db, [{ of: name, release: how.rejects ? null : release, by } as never], { isBare: how.isBare ?? false });
}

const named = async (upTo: number): Promise<string[]> =>
  (await eventNamesOf(db, PERSON, position(BigInt(upTo)))).map(({ origin, seq }) => `${origin.split(".")[2]}/${seq}`);
const shown = async (upTo: Position): Promise<string[]> =>
  (await countedEvents(db, PERSON, upTo, (_, data) => ({ data, withheld: [] }))).map(
    ({ origin, position: at }) => `${origin.split(".")[2]}@${at}`,
  );

it("the events that are folded again are those that people are shown: admitted ones at once, released ones from their release on, in one order", async () => {
  const [waits, twice, turnedDown, late, fork, odd] = [
    entry("waits", 20, held),
    entry("twice", 30, held),
    entry("rejected", 40, held),
    entry("late", 58, held),
    entry("fork", 59, held),
    entry("odd", 97, held),
  ];
  const clipped = entry("clipped", 50, { clips: { [originOf("own")]: { to: -1 } } as never });
  const entries = [entry("own", 10), waits, twice, turnedDown, clipped, fork, odd, entry("other", 57)];
  await copyAudit(db, { entries, projectionErrors: new Map() });
  await bare(entry("bare", 55));
  await bare(late);
  await writeQuarantine(db, [waits, twice, turnedDown, fork, odd, withPlaceholders(late)]);
  await settled(twice, 60, { seq: 0 });
  await settled(turnedDown, 70, { seq: 1, rejects: true });
  // A settlement is final, whatever is said of the event later.
  await settled(twice, 80, { seq: 2 });
  await settled(turnedDown, 90, { seq: 3 });
  await settled(late, 95, { seq: 4 });
  // The release is for the event of the other branch.
  await settled(fork, 96, { seq: 5, hash: "f".repeat(64) });
  // The table refuses what the release says; the log has it.
  await settled(odd, 98, { seq: 6, isBare: true });

  expect(await named(100)).toEqual(["own/0", "clipped/0", "bare/0", "other/0", "console/0", "console/4", "console/6"]);
  expect(await shown(position(100n))).toEqual(["own@10", "clipped@50", "bare@55", "other@57", "twice@60", "late@95"]);
  // At every position before the release that only the log has, both count the same events.
  for (let upTo = 0; upTo < 98; upTo++) {
    const positions = (await shown(position(BigInt(upTo)))).map((name) => Number(name.split("@")[1]));
    const { rows } = await db.query<{ name: string; position: string }>(
      "SELECT split_part(origin, '.', 3) || '/' || seq AS name, position FROM tributary.audit",
    );
    const found = new Map(rows.map(({ name, position: at }) => [name, Number(at)]));
    expect((await named(upTo)).map((name) => found.get(name))).toEqual(positions);
  }
});
