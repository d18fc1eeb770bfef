import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { verify } from "../../services/audit/index.ts";
import { followViews } from "../../services/cli/door-views.ts";
import { OWN_VIEWS } from "../../services/cli/program.ts";
import { loadProjections } from "../../services/cli/projections.ts";
import {
  canonicalize,
  dataAsSeen,
  dataOutOfRange,
  type EventBody,
  envelopeOutOfRange,
  type JsonObject,
  type JsonValue,
  keyAsSeen,
  type Member,
  RELEASED,
} from "../../services/core/index.ts";
import { type Field, type NewEvent, openField } from "../../services/field/index.ts";
import type { Column } from "../../services/merge/engine.ts";
import {
  boolean,
  date,
  decimal,
  defineProjection,
  integer,
  json,
  number,
  set,
  text,
  timestamp,
} from "../../services/merge/index.ts";
import { newDir } from "../support/home.ts";
import { openTestHub, registration, SCHEMAS, type TestHub } from "../support/hub.ts";
import { beyondOf, COLUMN_VALUES, edgesOf, MEMBERS, saidOf, withMember, writeAsOld } from "../support/ranges.ts";
import { eventually } from "../support/temp.ts";

/** Names as long as they may be, so that every index that holds them is tested. */
const ENTITY = "probe".padEnd(200, "e");
const SUBJECT = "probe".padEnd(200, "s");
const TYPE = `${"probe".padEnd(99, "t")}.${"t".repeat(100)}`;
const COLUMNS = {
  a_text: text(),
  key: text({ index: true }),
  whole: integer({ index: true }),
  real: number(),
  amount: decimal(),
  yes: boolean(),
  day: date({ index: true }),
  at: timestamp(),
  any: json(),
} satisfies Record<string, Column>;
const probes = defineProjection({ name: "probes", entity: ENTITY, columns: COLUMNS, events: { [TYPE]: set() } });

let schemas: string;
let hub: TestHub;
beforeAll(async () => {
  schemas = newDir("ranges");
  cpSync(SCHEMAS, schemas, { recursive: true });
  mkdirSync(join(schemas, SUBJECT));
  const form = { tributary: { entity: ENTITY, events: [TYPE] }, type: "object" };
  writeFileSync(join(schemas, SUBJECT, "v1.schema.json"), JSON.stringify(form));
  hub = await openTestHub({ schemas, views: [probes], isNarrow: true });
});
afterAll(async () => {
  await hub?.close();
  rmSync(schemas, { recursive: true, force: true });
});

let devices = 0;
const device = (): Field => hub.field("edge", `d${devices++}`, { schemas });
const sync = async (field: Field) => field.sync({ url: hub.backends.nats.url, token: await hub.token("edge"), maxTries: 1 });
const rows = async <T extends object>(sql: string, ...values: unknown[]): Promise<T[]> =>
  (await hub.db.query<T>(sql, values)).rows;

/** Waits until another device's ordinary event is shown: no earlier event holds it up. */
async function ordinaryEventIsShown(): Promise<void> {
  const id = `EDG-${String(devices).padStart(6, "0")}`;
  const field = device();
  await field.append(registration(id));
  expect(await sync(field)).toMatchObject({ confirmed: 1, pending: 0, quarantined: [] });
  await eventually(
    "an ordinary event",
    async () => (await rows("SELECT 1 FROM views.beneficiaries WHERE id = $1", id)).length === 1,
  );
}

/** An event that an app writes, or that has been in an outbox since before there were ranges. */
interface Probe {
  readonly members: readonly (readonly [Member, string | number])[];
  readonly values: JsonObject;
  readonly isOld: boolean;
}

/** Members that the device or this test gives; all other members can be chosen freely. */
const GIVEN: readonly Member[] = ["type", "origin", "seq", "entity.type", "schema.subject", "org", "basis.origins"];
const FREE = MEMBERS.filter(([member]) => !GIVEN.includes(member));
const memberValue = fc
  .constantFrom(...FREE)
  .chain(([member, range]) => fc.constantFrom(...edgesOf(range), ...beyondOf(range)).map((value) => [member, value] as const));
const columnValue = fc.constantFrom(...Object.entries(COLUMNS)).chain(([name, column]) => {
  const { fits, beyond } = COLUMN_VALUES[column.type];
  const indexed: JsonValue[] =
    column.type === "text" && column.index ? ["x".repeat(600), "\uffff".repeat(600), "x".repeat(601)] : [];
  const texts: JsonValue[] = column.type === "text" || column.type === "json" ? ["a\0b"] : [];
  return fc.constantFrom<JsonValue>(...fits, ...beyond, ...indexed, ...texts).map((value) => [name, value] as const);
});
const probe: fc.Arbitrary<Probe> = fc.record({
  members: fc.uniqueArray(memberValue, { maxLength: 2, selector: ([member]) => member }),
  values: fc.uniqueArray(columnValue, { maxLength: 3, selector: ([name]) => name }).map((pairs) => Object.fromEntries(pairs)),
  isOld: fc.boolean(),
});

type Head = Omit<EventBody, "data">;
/** The head of a probe; it has an entity id of its own, unless the probe names one. */
const headOf = ({ members }: Probe, base: Head, id: string): Head =>
  members.reduce<Head>((head, [member, value]) => withMember(member, value, head), {
    ...base,
    type: TYPE,
    entity: { type: ENTITY, id },
    schema: { subject: SUBJECT, version: 1 },
  });

const asShown = (column: Column, value: JsonValue | undefined): JsonValue => {
  if (value === undefined || value === null) return null;
  return column.type === "instant" ? new Date(value as string).toISOString() : value;
};

async function shownRow(id: string): Promise<JsonObject | undefined> {
  const [row] = await rows<{ row: JsonObject }>(
    `SELECT json_build_object('a_text', a_text, 'key', key, 'whole', whole, 'real', real, 'amount', amount, 'yes', yes, 'day', day, 'any', "any",
       'at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) AS row FROM views.probes WHERE id = $1`,
    id,
  );
  return row?.row;
}

/** What must become of a probe at the hub: the code that it is quarantined with, or `null` where it is shown. */
function fate(head: Head, values: JsonObject): string | null {
  if (envelopeOutOfRange(head) !== null) return "out-of-range";
  if (head.schema.version !== 1) return "schema-unknown";
  if (dataOutOfRange(values) !== null) return "out-of-range";
  return Object.entries(values).every(([name, value]) => value === null || COLUMNS[name as keyof typeof COLUMNS].fits(value))
    ? null
    : "unfit-for-view";
}

describe("an event at the edge of what can be held, or beyond it,", () => {
  it("is refused on the device, or quarantined at its seq, or shown, and holds up nobody", async () => {
    let run = 0;
    const seen = { refused: 0, shown: 0, held: new Set<string>() };
    await fc.assert(
      fc.asyncProperty(fc.array(probe, { minLength: 4, maxLength: 12 }), async (probes) => {
        run++;
        const field = device();
        const heads: { head: Head; values: JsonObject; seq: number }[] = [];
        const ids = new Set<string>();
        for (const [i, each] of probes.entries()) {
          let head!: Head;
          const make = (base: Head): Head => {
            const made = headOf(each, base, `P-${run}-${i}`);
            // Each probe has an entity of its own, so that its row shows what became of it.
            const { id } = made.entity;
            head = ids.has(keyAsSeen(id)) ? { ...made, entity: { type: ENTITY, id: `P-${run}-${i}` } } : made;
            ids.add(keyAsSeen(head.entity.id));
            return head;
          };
          if (each.isOld) {
            heads.push({ seq: writeAsOld(field, make, canonicalize(each.values)), head, values: each.values });
            continue;
          }
          const { name, nextSeq } = field.store.current();
          make({ ...withMember("seq", nextSeq), origin: name });
          const event: NewEvent = { ...saidOf(head), data: each.values };
          try {
            const { seq } = await field.append(event);
            // A device writes texts as people see them.
            heads.push({
              seq,
              head: { ...head, entity: { ...head.entity, id: keyAsSeen(head.entity.id) } },
              values: dataAsSeen(each.values),
            });
          } catch (error) {
            expect(error).toMatchObject({ code: "event-invalid" });
            expect(["out-of-range", "schema-unknown"]).toContain(fate(head, each.values));
            seen.refused++;
          }
        }
        const result = await sync(field);
        expect(result).toMatchObject({ pending: 0 });
        const codes = new Map<number, string>(result.quarantined.map(({ seq, code }) => [seq, code]));
        await hub.projected();
        for (const { head, values, seq } of heads) {
          const expected = fate(head, values);
          expect([head, values, codes.get(seq) ?? null]).toEqual([head, values, expected]);
          if (expected === null) seen.shown++;
          else seen.held.add(expected);
          if (expected !== null) continue;
          // An entity of an earlier run may have the same id at the edge: its row then shows the later event.
          expect(await shownRow(head.entity.id)).toBeDefined();
          if (!head.entity.id.startsWith("P-")) continue;
          const wanted = Object.fromEntries(
            Object.entries(COLUMNS).map(([name, column]) => [name, asShown(column, values[name])]),
          );
          expect(await shownRow(head.entity.id)).toEqual(wanted);
        }
        await ordinaryEventIsShown();
      }),
      { numRuns: 25 },
    );
    // The runs have seen every outcome that an event can have.
    expect(seen.refused).toBeGreaterThan(0);
    expect(seen.shown).toBeGreaterThan(0);
    expect([...seen.held]).toEqual(expect.arrayContaining(["out-of-range", "unfit-for-view"]));
    expect(await rows("SELECT view, entity_id, error FROM tributary.parked")).toEqual([]);
    expect(await rows("SELECT 1 FROM tributary.audit WHERE projection_error IS NOT NULL")).toEqual([]);
  });

  it.each(MEMBERS.filter(([, range]) => beyondOf(range).length > 0))(
    "of an old outbox waits in quarantine, complete: %s",
    async (member, range) => {
      const field = device();
      const values = beyondOf(range);
      const heads = values.map((value, i) => {
        let head!: Head;
        writeAsOld(
          field,
          (base) => {
            head = headOf({ members: [[member, value]], values: {}, isOld: true }, base, `Q-${i}`);
            return head;
          },
          canonicalize({ a_text: "kept" }),
        );
        return head;
      });
      const { quarantined, pending } = await sync(field);
      expect(pending).toBe(0);
      expect(quarantined).toEqual(
        heads.map(({ seq }) => ({ seq, code: "out-of-range", reason: expect.stringContaining(member) })),
      );
      await hub.projected();
      const held = await rows<{ raw: string; version: number; occurred: Date }>(
        "SELECT q.raw, q.schema_version AS version FROM tributary.quarantine q WHERE origin = $1 ORDER BY seq",
        field.status().origin,
      );
      expect(held).toEqual(heads.map(({ schema }) => ({ raw: '{"a_text":"kept"}', version: schema.version })));
      await ordinaryEventIsShown();
    },
  );

  it("leaves a log and views that agree, also after the views are rebuilt", async () => {
    const views = { db: hub.db, gate: hub.gate, projections: hub.projections };
    expect((await verify({ log: hub.log, views })).problems).toEqual([]);
    await hub.projector.close();
    const again = defineProjection({
      name: "probes",
      entity: ENTITY,
      columns: { ...COLUMNS, more: text() },
      events: { [TYPE]: set() },
    });
    const projections = hub.projections.map((view) => (view.name === "probes" ? again : view));
    hub.projector = await hub.startProjector(projections);
    await ordinaryEventIsShown();
    expect((await verify({ log: hub.log, views: { ...views, projections } })).problems).toEqual([]);
    await hub.projector.close();
    hub.projector = await hub.startProjector();
  });
});

describe("a value that no view can show", () => {
  const handout = (id: string, distributed_on: string) => ({
    type: "distribution.recorded",
    entity: { type: "distribution", id },
    actor: "clerk",
    data: {
      distribution_no: id,
      registration_no: "EDG-900001",
      item: "OIL",
      quantity: 4,
      unit: "LITRE",
      distributed_on,
      voucher_no: null,
    },
  });

  it("waits in quarantine; its release must fit as well, and then it counts", async () => {
    const field = device();
    await field.append(handout("H-1", "03/05/2026"));
    expect((await sync(field)).quarantined).toEqual([
      {
        seq: 0,
        code: "unfit-for-view",
        reason: 'distributed_on: "03/05/2026" is not a day like 2026-05-03, which the view distributions needs',
      },
    ]);
    await hub.projected();
    const [held] = await rows<{ origin: string; seq: number; hash: string; path: string }>(
      "SELECT origin, seq::float8, hash, path FROM tributary.quarantine WHERE entity_id = 'H-1'",
    );
    expect(held).toMatchObject({ path: "/distributed_on" });
    const { origin, seq, hash } = held!;
    const release = (day: string): NewEvent => {
      const { type, entity, data } = handout("H-1", day);
      return {
        type: RELEASED,
        entity: { type: "quarantine", id: `${origin}/${seq}` },
        actor: "operator",
        data: { origin, seq, hash, type, entity, schema: { subject: "distribution", version: 2 }, data },
      };
    };
    expect((await hub.settle([release("3 May")])).quarantined).toMatchObject([
      { code: "unfit-for-view", reason: expect.stringContaining('still does not fit: distributed_on: "3 May"') },
    ]);
    expect((await hub.settle([release("2026-05-03")])).quarantined).toEqual([]);
    await hub.projected();
    expect(await rows("SELECT distributed_on::text AS day, conflicts FROM views.distributions WHERE id = 'H-1'")).toEqual([
      { day: "2026-05-03", conflicts: 0 },
    ]);
  });

  it("is mended by the row that its site sends after it, without anybody's help", async () => {
    const field = device();
    await field.appendMany([handout("H-2", "03/05/2026"), handout("H-2", "2026-05-03")]);
    expect((await sync(field)).quarantined).toMatchObject([{ seq: 0 }]);
    await hub.projected();
    expect(await rows("SELECT distributed_on::text AS day FROM views.distributions WHERE id = 'H-2'")).toEqual([
      { day: "2026-05-03" },
    ]);
  });
});

describe("the hub's door", () => {
  it("goes by the live views: an edited file counts only once its view is built", async () => {
    const dir = newDir("views");
    const merge = join(import.meta.dirname, "../../services/merge/index.ts");
    const write = (type: string): void =>
      writeFileSync(
        join(dir, "visits.ts"),
        `import { date, defineProjection, set, text } from "${merge}";
export default defineProjection({ name: "visits", entity: "assessment", columns: { assessed_on: ${type}() }, events: { "assessment.submitted": set() } });`,
      );
    write("date");
    const [visits] = await loadProjections(dir);
    const build = async (views: readonly (typeof visits)[]): Promise<void> => {
      await hub.projector.close();
      hub.projector = await hub.startProjector([...hub.projections, ...views.map((view) => view!)]);
    };
    await build([visits]);
    const said: Record<string, unknown>[] = [];
    const follow = () =>
      followViews({
        folders: { schemas: null, projections: dir },
        postgresUrl: hub.backends.postgres.url,
        gate: hub.gate,
        say: (event) => said.push(event),
      });
    let door = await follow();
    try {
      const head = withMember("seq", 0);
      const problem = () =>
        door.fits(
          {
            ...head,
            type: "assessment.submitted",
            entity: { type: "assessment", id: "A-1" },
            schema: { subject: "nothing", version: 1 },
          },
          { assessed_on: "03/05/2026" },
        )?.code ?? null;
      expect(problem()).toBe("unfit-for-view");
      await eventually("the door's look at the views", async () => said.length === 1);
      // The hub's own views are built in.
      const own = OWN_VIEWS.length;
      expect(said).toEqual([{ event: "door-views", checked: own + 1, unchecked: [] }]);
      // Edited and not built: the door does not check events against a draft, not even after it is started again.
      write("text");
      expect(problem()).toBe("unfit-for-view");
      await door.close();
      door = await follow();
      await eventually("the look of a door that starts", async () => said.length === 2);
      expect(said[1]).toMatchObject({ checked: own, unchecked: ["visits"] });
      expect(problem()).toBeNull();
      write("date");
      await eventually("the file that is back", async () => problem() === "unfit-for-view");
      // Built: what the view can hold now is let through.
      write("text");
      const [wider] = await loadProjections(dir, { again: true });
      await build([wider]);
      await eventually("the view that was built", async () => problem() === null);
      expect(said.at(-1)).toMatchObject({ checked: own + 1, unchecked: [] });
    } finally {
      await door.close();
      rmSync(dir, { recursive: true, force: true });
    }
  });
});

it("a device that knows the views refuses what they cannot show, or keeps it with the reason", async () => {
  const { fitsViews } = await import("../../services/merge/engine.ts");
  const path = join(hub.dir, "narrow.db");
  const name = { org: "relief", site: "edge", device: "narrow" };
  using field = openField({ path, name, schemas: hub.gate, fits: fitsViews(hub.projections, hub.gate.read) });
  const event = { type: TYPE, entity: { type: ENTITY, id: "N-1" }, actor: "a", data: { amount: 1e300 } };
  await expect(field.append(event)).rejects.toMatchObject({
    code: "event-invalid",
    message: expect.stringContaining("amount: 1e+300 is too large a number for the view probes"),
  });
  expect(field.status().events).toBe(0);
  expect(await field.append(event, { onInvalid: "keep" })).toMatchObject({
    problem: { code: "unfit-for-view", path: "/amount" },
  });
});
