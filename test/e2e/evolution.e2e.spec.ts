import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { verify } from "../../services/audit/index.ts";
import type { JsonObject } from "../../services/core/index.ts";
import type { Field } from "../../services/field/index.ts";
import { openTestHub, SCHEMAS } from "../support/hub.ts";
import { tempDir } from "../support/temp.ts";

/** A small generator of numbers, so that a failing run can be run again: set EVOLUTION_SEED. */
function randoms(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

/** What each version from the second on has in addition: the third brings a field, the fourth drops it and brings others. */
const FIELDS: readonly (readonly string[])[] = [[], ["shelter"], ["water_point", "head_count"]];
const version = (n: number): Record<string, JsonObject> => {
  const base = JSON.parse(readFileSync(join(SCHEMAS, "beneficiary/v2.schema.json"), "utf8")) as Record<string, JsonObject>;
  const extra: Record<string, JsonObject> = {};
  for (const name of FIELDS[n - 2]!)
    extra[name] = name === "head_count" ? { type: "integer", minimum: 0 } : { type: "string", maxLength: 40 };
  return { ...base, properties: { ...base.properties, ...extra } };
};

/** The schemas that an app of a certain age came with. */
function appWith(newest: number): string {
  const dir = tempDir();
  cpSync(SCHEMAS, dir, { recursive: true });
  mkdirSync(join(dir, "beneficiary"), { recursive: true });
  if (newest === 1) rmSync(join(dir, "beneficiary/v2.schema.json"));
  for (let n = 3; n <= newest; n++) writeFileSync(join(dir, `beneficiary/v${n}.schema.json`), JSON.stringify(version(n)));
  return dir;
}

const seed = Number(process.env.EVOLUTION_SEED ?? Date.now() % 100_000);

it(`five sites write four versions of a schema, away for any length of time, while new ones are registered: nothing is lost, all views are right (seed ${seed}) (I29)`, async () => {
  const random = randoms(seed);
  const hub = await openTestHub({ schemas: appWith(1) });
  try {
    const ages = [1, 1, 2, 3, 4];
    const sites = ages.map((age, i) => ({
      name: `site${i}`,
      age,
      field: hub.field(`site${i}`, "t1", { schemas: appWith(age) }),
      written: 0,
    }));
    const wanted = new Map<string, { name: string; version: number }>();
    let registered = 1;

    const write = async ({ name, field }: { name: string; field: Field }, i: number): Promise<void> => {
      const id = `SI${"ABCDE"[Number(name.at(-1))]}-${String(i).padStart(6, "0")}`;
      const newest = field.gate.newest("beneficiary")!.version;
      const given = `Person ${name} ${i}`;
      const data: Record<string, string | number | boolean> = {
        registration_no: id,
        given_name: given,
        sex: "female",
        registered_on: "2026-02-01",
      };
      for (const extra of newest >= 2 ? (FIELDS[newest - 2] ?? []) : [])
        if (random(2) === 0) data[extra] = extra === "head_count" ? random(9) : "north";
      await field.append({ type: "beneficiary.registered", entity: { type: "beneficiary", id: id }, actor: "officer", data });
      wanted.set(id, { name: given, version: newest });
    };

    for (let round = 0; round < 12; round++) {
      for (const site of sites) {
        for (let n = random(6); n > 0; n--) await write(site, site.written++);
        // Some sites sync, others stay away.
        if (random(3) === 0)
          await site.field.sync({
            url: random(2) === 0 ? hub.backends.nats.url : hub.ingress.http!.url,
            token: await hub.token(site.name),
          });
      }
      if (registered < 4 && random(3) === 0) {
        registered++;
        const text =
          registered === 2
            ? readFileSync(join(SCHEMAS, "beneficiary/v2.schema.json"), "utf8")
            : JSON.stringify(version(registered));
        const outcome = await hub.registry!.register(
          "beneficiary",
          { kind: "json", text, references: [] },
          { actor: "office", version: registered },
        );
        expect(outcome.kind).toBe("registered");
      }
    }
    while (registered < 4) {
      registered++;
      const text =
        registered === 2
          ? readFileSync(join(SCHEMAS, "beneficiary/v2.schema.json"), "utf8")
          : JSON.stringify(version(registered));
      await hub.registry!.register(
        "beneficiary",
        { kind: "json", text, references: [] },
        { actor: "office", version: registered },
      );
    }
    for (const { field, name } of sites) await field.sync({ url: hub.backends.nats.url, token: await hub.token(name) });
    await hub.projected();

    // Events that came before their schema was registered are held; they are released now, as they were written.
    const { rows: held } = await hub.db.query<{
      origin: string;
      seq: string;
      hash: string;
      type: string;
      entity_id: string;
      schema_version: number;
      raw: string;
      code: string;
    }>(
      "SELECT origin, seq::text, hash, type, entity_id, schema_version, raw, code FROM tributary.quarantine WHERE state = 'held' ORDER BY position",
    );
    expect(held.every(({ code }) => code === "schema-unknown")).toBe(true);
    if (held.length > 0) {
      const settled = await hub.settle(
        held.map((row) => ({
          type: "quarantine.released",
          entity: { type: "quarantine", id: `${row.origin}/${row.seq}` },
          actor: "office",
          data: {
            origin: row.origin,
            seq: Number(row.seq),
            hash: row.hash,
            type: row.type,
            entity: { type: "beneficiary", id: row.entity_id },
            schema: { subject: "beneficiary", version: row.schema_version },
            data: JSON.parse(row.raw) as JsonObject,
          },
        })),
      );
      expect(settled.quarantined).toEqual([]);
      await hub.projected();
    }

    for (const { field } of sites) expect(field.status().levels).toMatchObject({ LOCAL: 0, QUEUED: 0 });
    const { rows } = await hub.db.query<{ id: string; given_name: string; waiting_for: unknown }>(
      "SELECT id, given_name, waiting_for FROM views.beneficiaries ORDER BY id",
    );
    expect(rows.map(({ id, given_name }) => [id, given_name])).toEqual(
      [...wanted].map(([id, { name }]) => [id, name]).sort(([a], [b]) => (a! < b! ? -1 : 1)),
    );
    expect(rows.every(({ waiting_for }) => waiting_for === null)).toBe(true);
    expect(new Set([...wanted.values()].map(({ version: of }) => of)).size).toBeGreaterThan(1);
    const report = await verify({ log: hub.log, views: { db: hub.db, gate: hub.gate, projections: hub.projections } });
    expect(report.problems).toEqual([]);
    expect(report.rowsCompared).toBeGreaterThanOrEqual(wanted.size);
  } finally {
    await hub.close();
  }
});
