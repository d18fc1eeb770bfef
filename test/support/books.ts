import type { Client } from "pg";
import { expect } from "vitest";
import { verify } from "../../services/audit/index.ts";
import { canonicalize, type JsonValue } from "../../services/core/index.ts";
import type { NewEvent } from "../../services/field/index.ts";
import type { Gate } from "../../services/gate/index.ts";
import type { Log } from "../../services/log/index.ts";
import { type EntityState, entityViews, fold, type Projection, type Totals, type View } from "../../services/merge/engine.ts";
import { counting, toFoldEvent } from "../../services/projector/index.ts";
import { readColumns, readersOf } from "../../services/views/index.ts";
import { expectFeedWhole } from "./feed.ts";
import { number, registration, update } from "./hub.ts";

export { random } from "./random.ts";

export const handout = (id: string, more: Record<string, JsonValue> = {}): NewEvent => ({
  type: "distribution.recorded",
  entity: { type: "distribution", id },
  actor: "tester",
  data: {
    distribution_no: id,
    registration_no: number(1),
    item: "RICE",
    quantity: 10,
    unit: "KG",
    distributed_on: "2026-02-03",
    voucher_no: null,
    ...more,
  },
});

export const movement = (id: string, quantity: number, more: { type?: string; item?: string } = {}): NewEvent => ({
  type: more.type ?? "stock.received",
  entity: { type: "stock-movement", id },
  actor: "tester",
  data: { movement_no: id, item: more.item ?? "RICE", quantity, unit: "KG", moved_on: "2026-01-02" },
});

/** Events of a site's day: people, hand-outs and stock, many of them about what other sites write about too. */
export function dayOf(next: () => number, events: number): NewEvent[] {
  const below = (n: number): number => Math.floor(next() * n);
  const one = <T>(of: readonly T[]): T => of[below(of.length)]!;
  const amount = (): number => one([1, 2.5, 10, 0.1, 12.75, 30]);
  const item = (): string => one(["RICE", "OIL"]);
  return Array.from({ length: events }, (): NewEvent => {
    const person = number(below(60));
    switch (below(8)) {
      case 0:
      case 1:
        return registration(person, { village: `V${below(4)}`, household_size: 1 + below(5) });
      case 2:
        return update(person, { household_size: 1 + below(9) });
      case 3:
        return one([update(person, { village: `V${below(4)}`, district: "D" }), removal(person)]);
      case 4:
        return movement(`M${below(25)}`, amount(), {
          type: one(["stock.received", "stock.adjusted", "stock.cancelled"]),
          item: item(),
        });
      default:
        return handout(`D${below(50)}`, {
          registration_no: number(below(12)),
          item: item(),
          quantity: amount(),
          distributed_on: `2026-0${1 + below(3)}-1${below(9)}`,
          voucher_no: below(3) === 0 ? `V-${below(15)}` : null,
        });
    }
  });
}

export const removal = (id: string): NewEvent => ({
  type: "beneficiary.removed",
  entity: { type: "beneficiary", id },
  actor: "tester",
  data: { reason: "duplicate" },
});

export interface Books {
  readonly log: Log;
  readonly db: Client;
  readonly gate: Gate;
  readonly projections: readonly View[];
}

/** Checks that audit, rows, past versions, totals, claims, cases of organisations and the feeds of buckets are what the log gives, each recomputed in another way than the projector's. */
export async function expectBalanced(books: Books): Promise<void> {
  const { log, db, gate, projections } = books;
  // A separate process loads functions as another text than the test runner does.
  const report = await verify({ log, views: { db, gate, projections, isSame: true } });
  expect(report.problems).toEqual([]);
  const { rows } = await db.query("SELECT count(*)::int AS n, count(DISTINCT (origin, seq))::int AS d FROM tributary.audit");
  expect(rows).toEqual([{ n: report.events, d: report.events }]);
  for (const view of projections) {
    if (view.kind === "totals") expect(await totalsIn(db, view), view.name).toEqual(await totalsFrom(db, view, projections));
    if (view.kind !== "entity") continue;
    if (Object.keys(view.invariants).length === 0) continue;
    expect(await claimsIn(db, view), `${view.name}_claims`).toEqual(await claimsFrom(db, view));
    expect(await orgCasesIn(db, view), `${view.name}, cases of organisations`).toEqual(await orgCasesFrom(db, view));
  }
  expect(await pastIn(db, projections)).toEqual(await pastFrom(books));
  await expectFeedWhole(books);
}

type Row = Record<string, JsonValue> & { readonly id: string };

const rowsOf = async (db: Client, view: Projection): Promise<Row[]> =>
  (await db.query<Row>(`SELECT id, ${readColumns(view).join(", ")} FROM views."${view.name}" WHERE NOT deleted ORDER BY id`))
    .rows;

/** Amounts in thousandths, so that they add up exactly. */
const exact = (value: unknown): number => Math.round(Number(value) * 1_000);

async function totalsIn(db: Client, totals: Totals): Promise<Map<string, Record<string, number>>> {
  const { rows } = await db.query<Record<string, string>>(`SELECT * FROM views."${totals.name}" ORDER BY id COLLATE "C"`);
  const sums = [...Object.keys(totals.sums), "rows"];
  return new Map(rows.map((row) => [row.id!, Object.fromEntries(sums.map((name) => [name, exact(row[name])]))]));
}

async function totalsFrom(db: Client, totals: Totals, views: readonly View[]): Promise<Map<string, Record<string, number>>> {
  const out = new Map<string, Record<string, number>>();
  for (const source of entityViews(views).filter(({ name }) => totals.sources.has(name))) {
    for (const row of await rowsOf(db, source)) {
      for (const part of totals.contributions(source.name, row)) {
        const key = canonicalize(Object.keys(totals.keys).map((name) => part[name] ?? null));
        const sum = out.get(key) ?? Object.fromEntries([...Object.keys(totals.sums), "rows"].map((name) => [name, 0]));
        for (const name of Object.keys(totals.sums)) sum[name]! += exact(part[name] ?? 0);
        sum.rows! += 1_000;
        out.set(key, sum);
      }
    }
  }
  return new Map([...out].sort(([a], [b]) => (a < b ? -1 : 1)));
}

async function claimsIn(db: Client, { name }: Projection): Promise<string[]> {
  const { rows } = await db.query<Record<string, string>>(`SELECT invariant, key, entity_id FROM views."${name}_claims"`);
  return rows.map(({ invariant, key, entity_id }) => `${invariant} ${key} ${entity_id}`).sort();
}

async function claimsFrom(db: Client, view: Projection): Promise<string[]> {
  const claims: string[] = [];
  for (const row of await rowsOf(db, view))
    for (const [invariant, rule] of Object.entries(view.invariants)) {
      const key = "atMost" in rule ? rule.key(row as never) : null;
      if (key !== null) claims.push(`${invariant} ${canonicalize(key)} ${row.id}`);
    }
  return claims.sort();
}

async function orgCasesIn(db: Client, { name }: Projection): Promise<string[]> {
  const { rows } = await db.query<Record<string, string>>(
    `SELECT rule, subject, org, about FROM tributary.case_row JOIN tributary.generation g USING (view, generation)
     WHERE g.state = 'live' AND view = $1 AND org IS NOT NULL AND closed_position IS NULL`,
    [name],
  );
  return rows.map(({ rule, subject, org, about }) => JSON.stringify([rule, subject, org, about])).sort();
}

async function orgCasesFrom(db: Client, { name, entity, invariants }: Projection): Promise<string[]> {
  const { rows } = await db.query<Record<string, string>>(
    `SELECT invariant, key, org, c.entity_id AS entity, events FROM views."${name}_claims" c JOIN tributary.owner o ON o.entity_type = $1 AND o.entity_id = c.entity_id`,
    [entity],
  );
  return [...Map.groupBy(rows, ({ invariant, key, org }) => JSON.stringify([invariant, key, org])).values()]
    .flatMap((all) => {
      const { invariant, key, org } = all[0]!;
      const rule = invariants[invariant!];
      if (rule === undefined || !("atMost" in rule) || all.length <= rule.atMost) return [];
      const members = all
        .map(({ entity, events }) => ({ entity: entity!, events }))
        .sort((a, b) => (a.entity < b.entity ? -1 : 1));
      return [JSON.stringify([invariant, key, org, { count: all.length, members: members.slice(0, 100) }])];
    })
    .sort();
}

async function pastIn(db: Client, views: readonly View[]): Promise<string[]> {
  const past: string[] = [];
  for (const { name } of entityViews(views).filter(({ keepsHistory }) => keepsHistory)) {
    const { rows } = await db.query<{ id: string; position: string }>(
      `SELECT id, position FROM views."${name}_history" WHERE superseded_at = 9223372036854775807`,
    );
    past.push(...rows.map(({ id, position }) => `${name} ${id} ${position}`));
  }
  return past.sort();
}

async function pastFrom({ log, db, gate, projections }: Books): Promise<string[]> {
  const pins = await readersOf(db);
  const counts = counting(log);
  const states = new Map<string, EntityState>();
  const past: string[] = [];
  for await (const entry of log.readAll()) {
    const { counted } = await counts.judge(entry);
    if (counted?.content.kind !== "accepted") continue;
    const { id, type } = counted.head.entity;
    for (const view of entityViews(projections)) {
      if (view.entity !== type) continue;
      const key = `${view.name} ${id}`;
      const folded = fold(view, states.get(key), toFoldEvent(counted, counted.content.data, gate, pins.get(view.name) ?? {}));
      if (folded === null) continue;
      states.set(key, folded.state);
      if (view.keepsHistory) past.push(`${key} ${counted.position}`);
    }
  }
  return past.sort();
}
