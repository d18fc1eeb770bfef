/**
 * Random histories of offline replicas: who wrote what, having seen what, with which clock, and where the hub's log has it. This file also has the views that they are
 * folded into, which between them use every rule.
 */

import fc from "fast-check";
import { formatHlc, type JsonObject, type JsonValue, type OriginId, type Seq, type Vector } from "../../services/core/index.ts";
import type { Columns, FoldEvent, Projection, Resolver } from "../../services/merge/engine.ts";
import {
  authorityOf,
  byField,
  clientWins,
  custom,
  date,
  decimal,
  defineProjection,
  deleteWins,
  firstWriteWins,
  integer,
  json,
  lastWriteWins,
  logOrder,
  manual,
  map,
  max,
  min,
  remove,
  serverWins,
  set,
  sitePriority,
  text,
  union,
  updateWins,
  versionCompare,
} from "../../services/merge/index.ts";
import type { PlainRule, ViewSpec } from "./reference.ts";

// ── views ───────────────────────────────────────────────────────────────────

const COLUMNS = {
  name: text(),
  phone: text(),
  district: text(),
  village: text(),
  size: integer(),
  amount: decimal(),
  tags: json(),
  status: text(),
  note: text(),
  seen_on: date(),
} satisfies Columns;
const columns = Object.keys(COLUMNS);

/** A rule unlike any that is shipped: the text whose mirror image sorts first wins. */
const byMirror = (value: JsonValue): string => [...JSON.stringify(value)].reverse().join("");

export const SPECS: readonly ViewSpec[] = [
  {
    name: "by_time_and_place",
    columns,
    groups: { location: ["district", "village"] },
    rules: {
      name: { by: "firstWriteWins" },
      phone: { by: "logOrder", which: "last" },
      size: { by: "logOrder", which: "first" },
      amount: { by: "versionCompare" },
      location: { by: "sitePriority", sites: ["relief.juba", "kampala"] },
      status: { by: "serverWins" },
      note: { by: "clientWins" },
      deleted: { by: "deleteWins" },
    },
  },
  {
    name: "by_value",
    columns,
    groups: { location: ["village", "district"] },
    rules: {
      name: { by: "custom", key: byMirror },
      phone: { by: "byField", member: "quality", which: "max" },
      location: { by: "byField", member: "quality", which: "min" },
      size: { by: "max" },
      amount: { by: "min" },
      tags: { by: "union" },
      status: { by: "manual" },
      note: { by: "max" },
      seen_on: { by: "min" },
      deleted: { by: "updateWins" },
    },
  },
  {
    name: "by_say",
    columns,
    groups: { location: ["district", "village"] },
    rules: {
      name: { by: "versionCompare" },
      location: { by: "byField", member: "quality", which: "max" },
      tags: { by: "union" },
      status: { by: "manual" },
      note: { by: "authority", who: { sites: ["relief.nairobi"] }, otherwise: { by: "logOrder", which: "last" } },
      deleted: { by: "manual" },
      others: { by: "firstWriteWins" },
    },
    authority: {
      name: { orgs: ["shelter"] },
      location: { sites: ["nairobi", "shelter.juba"] },
      tags: { actors: ["amina"] },
      status: { actors: ["deng"], sites: ["hub"] },
      deleted: { orgs: ["relief"] },
    },
  },
  { name: "as_a_whole", columns, whole: true, rules: { others: { by: "versionCompare" }, deleted: { by: "lastWriteWins" } } },
  {
    name: "as_a_whole_by_say",
    columns,
    whole: true,
    rules: { record: { by: "custom", key: byMirror }, deleted: { by: "manual" } },
    authority: { record: { actors: ["grace"], orgs: ["shelter"] } },
  },
];

function resolverOf(rule: PlainRule): Resolver {
  switch (rule.by) {
    case "logOrder":
      return logOrder(rule.which);
    case "sitePriority":
      return sitePriority(rule.sites);
    case "byField":
      return byField(rule.member, rule.which);
    case "authority":
      return authorityOf(rule.who, resolverOf(rule.otherwise));
    case "custom":
      return custom({
        name: "by_mirror",
        version: 1,
        resolve(siblings) {
          const keyOf = ({ value, by }: (typeof siblings)[number]): string => `${rule.key(value)} ${by.origin}/${by.seq}`;
          const first = siblings.map(keyOf).reduce((a, b) => (a < b ? a : b));
          return { winner: siblings.find((each) => keyOf(each) === first)! };
        },
      });
    default:
      return {
        lastWriteWins,
        firstWriteWins,
        versionCompare,
        serverWins,
        clientWins,
        max,
        min,
        union,
        manual,
        deleteWins,
        updateWins,
      }[rule.by];
  }
}

export const projectionOf = (spec: ViewSpec): Projection =>
  defineProjection({
    name: spec.name,
    entity: "person",
    columns: COLUMNS,
    groups: (spec.groups ?? {}) as never,
    whole: spec.whole ?? false,
    resolve: Object.fromEntries(Object.entries(spec.rules).map(([register, rule]) => [register, resolverOf(rule)])),
    authority: spec.authority ?? {},
    derive: { label: { column: text(), of: ({ name, village }) => labelOf(name, village) } },
    tables: { tags: { columns: { tag: text() }, rows: ({ tags }) => tagRows(tags) } },
    events: {
      "person.registered": set(),
      "person.updated": set(),
      "person.phoned": set("phone"),
      "person.moved": map(({ data, site }) => ({ district: site, village: data.village })),
      "person.removed": remove(),
    },
  });

export const labelOf = (name: JsonValue, village: JsonValue): string | null =>
  name === null ? null : `${name} of ${village ?? "nowhere"}`;
export const tagRows = (tags: JsonValue): { tag: string }[] =>
  Array.isArray(tags) ? tags.map((tag) => ({ tag: String(tag) })) : [];

// ── histories ───────────────────────────────────────────────────────────────

export const ORIGINS = [
  "relief.nairobi.t1.aaa",
  "relief.hub.console.bbb",
  "shelter.juba.t1.ccc",
  "relief.kampala.t1.ddd",
  "relief.nairobi.t2.eee",
  "shelter.hub.console.fff",
  "relief.juba.t3.ggg",
] as OriginId[];
const ENTITIES = ["p1", "p2", "p3"];
const DAY_MS = 86_400_000;
const START_MS = Date.UTC(2026, 0, 1);
/** Several steps fall into one tick of the clock, so that stamps tie. */
const TICK_MS = 60_000;

type Step =
  | {
      readonly kind: "write";
      readonly at: number;
      readonly entity: number;
      readonly type: string;
      readonly data: JsonObject;
      readonly actor: string;
      readonly offDays: number;
      readonly isFlagged: boolean;
      /** What a damaged or lying device falsely claims to have seen. */
      readonly claims: Readonly<Record<string, number>>;
    }
  /** Takes over what another has: all of it, or only what one origin wrote. */
  | { readonly kind: "pull"; readonly at: number; readonly from: number; readonly only: number | null }
  /** Hands the hub what it lacks; receipts tell the positions. */
  | { readonly kind: "upload"; readonly at: number };

export interface History {
  readonly replicas: number;
  readonly steps: readonly Step[];
  /** For arrival orders. */
  readonly shuffle: number;
}

const maybe = <T extends JsonValue>(...values: readonly T[]): fc.Arbitrary<JsonValue> =>
  fc.option(fc.constantFrom<JsonValue>(...values), { nil: null, freq: 4 });
const values = fc.record(
  {
    name: maybe("Amina", "Aminah", "Émile", "😀", ""),
    phone: maybe("1", "2", "3"),
    district: maybe("Gulu", "Yei"),
    village: maybe("Lologo", "Gumbo"),
    size: maybe(0, 3, 10, -2),
    amount: maybe(0.5, 9, 10),
    tags: fc.oneof(
      maybe<JsonValue>("urgent", 7, false, { b: 1, a: [2] }, { a: [2], b: 1 }),
      fc.array(fc.constantFrom<JsonValue>("a", "b", 7, { k: 1 }), { maxLength: 3 }),
    ),
    status: maybe("idp", "host"),
    note: maybe("x", "y", "10", "9"),
    seen_on: maybe("2026-01-01", "2025-12-31"),
    quality: maybe<JsonValue>(1, 2, "good", true, [1]),
  },
  { requiredKeys: [] },
);
const resolution = fc.record(
  { values: values, deleted: fc.boolean(), note: fc.constant("we asked the family") },
  { requiredKeys: [] },
);
const content: fc.Arbitrary<{ type: string; data: JsonObject }> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      type: fc.constantFrom("person.registered", "person.updated", "person.updated", "person.moved", "person.phoned"),
      data: values as fc.Arbitrary<JsonObject>,
    }),
  },
  { weight: 2, arbitrary: fc.constant({ type: "person.removed", data: {} }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("conflict.resolved"), data: resolution as fc.Arbitrary<JsonObject> }) },
  { weight: 1, arbitrary: fc.constant({ type: "person.photographed", data: { name: "not for this view" } }) },
);
const replica = fc.nat(ORIGINS.length - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .record({
        kind: fc.constant("write" as const),
        at: replica,
        // Most of a history is about one person: that is where writes meet.
        entity: fc.constantFrom(0, 0, 0, 0, 1, 2),
        content,
        actor: fc.constantFrom("amina", "deng", "grace"),
        offDays: fc.oneof(
          { weight: 3, arbitrary: fc.constant(0) },
          { weight: 1, arbitrary: fc.constantFrom(-730, -30, -1, 1, 30, 730) },
        ),
        isFlagged: fc.nat(4).map((n) => n === 0),
        claims: fc.oneof(
          { weight: 12, arbitrary: fc.constant({}) },
          { weight: 1, arbitrary: fc.dictionary(fc.constantFrom<string>(...ORIGINS), fc.nat(12), { maxKeys: 2 }) },
        ),
      })
      .map(({ content, ...rest }) => ({ ...rest, ...content })),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("pull" as const),
      at: replica,
      from: replica,
      only: fc.option(replica, { nil: null, freq: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("upload" as const), at: replica }) },
);

export const histories: fc.Arbitrary<History> = fc.record({
  replicas: fc.integer({ min: 3, max: ORIGINS.length }),
  // `size: "max"`: fast-check would otherwise keep to ten steps, where hardly anything meets.
  steps: fc.array(step, { minLength: 1, maxLength: 36, size: "max" }),
  shuffle: fc.nat(),
});

export interface Played {
  /** Every event once, as the log and the receipts have it in the end. */
  readonly events: readonly FoldEvent[];
  /** What each replica received, in order: first without a position in the log, later perhaps again with it. */
  readonly replicas: readonly (readonly FoldEvent[])[];
}

/** Plays a history: replicas know only what they wrote or pulled. */
export function play({ replicas: count, steps }: History): Played {
  const known = Array.from({ length: count }, (): FoldEvent[] => []);
  const written = new Map<string, FoldEvent>();
  const positions = new Map<string, { position: number; clockWrong: boolean }>();
  const flagged = new Set<string>();
  const key = ({ origin, seq }: FoldEvent): string => `${origin}/${seq}`;
  const nextSeq = new Map<OriginId, number>();
  let logEnd = 1000;

  for (const [i, step] of steps.entries()) {
    const at = step.at % count;
    const here = known[at]!;
    if (step.kind === "pull") {
      const only = step.only === null ? null : ORIGINS[step.only % count]!;
      const wanted = known[step.from % count]!.filter(({ origin }) => only === null || origin === only);
      for (const event of wanted) if (!here.some((had) => had === event)) here.push(event);
      continue;
    }
    if (step.kind === "upload") {
      // A device hands over its own events in their order; the hub notes their positions, and wrong clocks.
      for (const event of here.filter(({ origin }) => origin === ORIGINS[at])) {
        if (positions.has(key(event))) continue;
        logEnd += 1 + (logEnd % 7);
        positions.set(key(event), { position: logEnd, clockWrong: flagged.has(key(event)) });
        here.push({ ...event, ...positions.get(key(event))! });
      }
      continue;
    }
    const origin = ORIGINS[at]!;
    const entity = ENTITIES[step.entity]!;
    const basis: Record<string, number> = { ...step.claims };
    for (const seen of here) if (seen.entity.id === entity) basis[seen.origin] = Math.max(basis[seen.origin] ?? -1, seen.seq);
    const seq = nextSeq.get(origin) ?? 0;
    nextSeq.set(origin, seq + 1);
    const event: FoldEvent = {
      type: step.type,
      data: step.data,
      entity: { type: "person", id: entity },
      actor: step.actor,
      occurredAt: "2026-01-01T00:00:00.000Z",
      site: origin.split(".")[1]!,
      origin,
      seq: seq as Seq,
      hlc: formatHlc({ wallMs: START_MS + Math.floor(i / 4) * TICK_MS + step.offDays * DAY_MS, counter: 0 }),
      clockWrong: false,
      position: null,
      basis: basis as Vector,
    };
    if (step.isFlagged) flagged.add(key(event));
    written.set(key(event), event);
    here.push(event);
  }
  return { events: [...written].map(([dot, event]) => ({ ...event, ...positions.get(dot) })), replicas: known };
}

/** A shuffle that the seed decides. */
export function shuffled<T>(items: readonly T[], seed: number): T[] {
  const out = [...items];
  let state = seed | 0;
  for (let i = out.length - 1; i > 0; i--) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    const j = Math.floor(((state >>> 0) / 2 ** 32) * (i + 1));
    [out[i], out[j]] = [out[j]!, out[i]!];
  }
  return out;
}
