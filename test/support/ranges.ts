import {
  type EventBody,
  eventText,
  formatHlc,
  type Hash,
  type JsonObject,
  type JsonValue,
  type Member,
  type OriginId,
  RANGES,
  type Range,
  type Seq,
} from "../../services/core/index.ts";
import { chainHash } from "../../services/core/node.ts";
import type { Field } from "../../services/field/index.ts";
import type { Column } from "../../services/merge/engine.ts";

/** Values for tests, made from what `core/ranges.ts` says: the edges of each member's range, and what the wire carries beyond it. */

type Scalar = string | number;

const name = (chars: number): string => `a${"-b".repeat(chars)}`.slice(0, chars - 1).padEnd(chars, "z");

/** The edges of a range, all of which every stage must hold. */
export function edgesOf(range: Range): Scalar[] {
  switch (range.kind) {
    case "integer":
      return [range.min, range.max];
    case "instant":
      return [range.min, range.max];
    case "text":
      return range.isFree
        ? [
            "x",
            "x".repeat(range.maxChars),
            "\u{10ffff}".repeat(range.maxChars / 2),
            "\uffff".repeat(range.maxChars),
            "\ufeffa",
            "\u2028\u0001\\\n\t\r\"'",
            "\\N",
            "\\.",
          ]
        : [name(range.maxChars)];
  }
}

/** What the wire carries and no later stage could hold; empty where the wire is as narrow. */
export function beyondOf(range: Range): Scalar[] {
  switch (range.kind) {
    case "integer":
      return [
        ...(range.carries.max > range.max ? [range.max + 1, range.carries.max] : []),
        ...(range.carries.min < range.min ? [range.min - 1, range.carries.min] : []),
      ];
    case "instant":
      return [
        ...(range.carries.min < range.min ? [range.carries.min, justBefore(range.min)] : []),
        ...(range.carries.max > range.max ? [range.carries.max] : []),
      ];
    case "text":
      return range.carriesNul ? ["\0", "a\0", "\0a", `${"x".repeat(range.maxChars - 1)}\0`] : [];
  }
}
const justBefore = (instant: string): string => new Date(Date.parse(instant) - 1).toISOString();

export const MEMBERS = Object.entries(RANGES) as [Member, Range][];

export const ORIGIN = "relief.juba.t1.abc" as OriginId;
export const HEAD: Omit<EventBody, "data"> = {
  type: "beneficiary.updated",
  origin: ORIGIN,
  seq: 0 as Seq,
  entity: { type: "beneficiary", id: "X-1" },
  schema: { subject: "beneficiary-update", version: 1 },
  actor: "deng",
  org: "relief",
  occurredAt: "2026-05-03T08:00:00.000Z",
  hlc: formatHlc({ wallMs: Date.parse("2026-05-03T08:00:00.000Z"), counter: 0 }),
  basis: {},
};

const originOf = (n: number): OriginId => `relief.site-${n}.t.e` as OriginId;
const basisOf = (count: number, seq = 0): EventBody["basis"] =>
  Object.fromEntries(Array.from({ length: count }, (_, n) => [originOf(n), seq])) as EventBody["basis"];

/** An envelope with one member as given. */
export function withMember(member: Member, value: Scalar, head = HEAD): Omit<EventBody, "data"> {
  const [text, n] = [String(value), Number(value)];
  const stamp = { wallMs: Date.parse(head.hlc.slice(0, 24)), counter: 0 };
  switch (member) {
    case "type": {
      const letters = text.replaceAll("-", "z");
      return { ...head, type: `${letters.slice(0, 100)}.${letters.slice(101)}` };
    }
    case "origin": {
      const part = name(40);
      return { ...head, origin: [part, part, part, part].join(".") as OriginId, org: part };
    }
    case "org":
      return { ...head, org: text, origin: `${text}.juba.t1.abc` as OriginId };
    case "seq":
      return { ...head, seq: n as Seq };
    case "entity.type":
      return { ...head, entity: { ...head.entity, type: text } };
    case "entity.id":
      return { ...head, entity: { ...head.entity, id: text } };
    case "schema.subject":
      return { ...head, schema: { ...head.schema, subject: text } };
    case "schema.version":
      return { ...head, schema: { ...head.schema, version: n } };
    case "hlc.wallMs":
      return { ...head, hlc: formatHlc({ ...stamp, wallMs: n }) };
    case "hlc.counter":
      return { ...head, hlc: formatHlc({ ...stamp, counter: n }) };
    case "basis.seq":
      return { ...head, basis: basisOf(1, n) };
    case "basis.origins":
      return { ...head, basis: basisOf(n) };
    case "actor":
    case "occurredAt":
    case "correlationId":
    case "causationId":
      return { ...head, [member]: text };
  }
}

/** The members of an envelope that an app gives; the device gives the rest. A new member counts as one that an app gives. */
export function saidOf({ origin: _, org: __, seq: ___, hlc: ____, basis: _____, ...said }: Omit<EventBody, "data">) {
  return said;
}

/** For each type of column, values at the edge of what it holds, and values beyond. */
export const COLUMN_VALUES: Readonly<
  Record<Column["type"], { readonly fits: readonly JsonValue[]; readonly beyond: readonly JsonValue[] }>
> = {
  text: { fits: ["", "x".repeat(5_000), "\u{10ffff}\ufeff\u0001\\N\t", "\\."], beyond: [7, true, [], {}] },
  integer: {
    fits: [0, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER],
    beyond: [2 ** 53, 1e300, 0.5, "7", true],
  },
  number: { fits: [0, Number.MAX_VALUE, -Number.MAX_VALUE, Number.MIN_VALUE, 0.1], beyond: ["0.1", false, []] },
  decimal: { fits: [0, 1e30, -1e30, Number.MIN_VALUE, 0.1], beyond: [1.1e30, 1e300, -1e300, "1"] },
  boolean: { fits: [true, false], beyond: ["true", 1] },
  date: {
    fits: ["0001-01-01", "9999-12-31", "2024-02-29", "1900-02-28"],
    beyond: [
      "03/05/2026",
      "0000-01-01",
      "2023-02-29",
      "1900-02-29",
      "2026-13-01",
      "2026-05-03T00:00:00Z",
      "",
      20260503,
      "infinity",
      "today",
    ],
  },
  instant: {
    fits: [
      "0001-01-01T00:00:00Z",
      "9999-12-31T23:59:59.999Z",
      "0001-01-01T14:59:00+14:59",
      "9999-12-31T09:00:59.999-14:59",
      "2026-05-03T08:00Z",
      "2026-05-03T08:00:00.123456789Z",
    ],
    beyond: [
      "2016-12-31T23:59:60Z",
      "0000-12-31T23:59:59Z",
      // These times are of the years 1 and 9999 where they were written, and of the years 0 and 10000 in UTC.
      "0001-01-01T00:00:00+14:00",
      "9999-12-31T23:59:59-14:00",
      "2026-05-03T24:00:00Z",
      "2026-05-03T08:00:00",
      "2026-05-03",
      1,
    ],
  },
  json: {
    fits: [0, 1e300, Number.MIN_VALUE, "\u{10ffff}", [], {}, nested(60), { "": 1, "\\u0000": "\\u0000" }, null],
    beyond: [],
  },
};

function nested(depth: number): JsonValue {
  let out: JsonValue = [];
  for (let i = 0; i < depth; i++) out = [out];
  return out;
}

/**
 * Writes an event into a device's database as an older version did, which knew no ranges: the event has the next seq and is chained, and nothing is checked.
 */
export function writeAsOld(
  field: Field,
  make: (head: Omit<EventBody, "data">) => Omit<EventBody, "data">,
  dataText: string,
): number {
  const { store } = field;
  return store.transaction(() => {
    const origin = store.current();
    const base = { ...HEAD, origin: origin.name, org: origin.name.split(".")[0]!, seq: origin.nextSeq as Seq };
    const head = make(base);
    const hash: Hash = chainHash(origin.head, eventText(head, dataText));
    store.db
      .prepare("INSERT INTO event (origin, seq, head, data, hash, fingerprint) VALUES (?, ?, ?, ?, ?, '')")
      .run(origin.id, origin.nextSeq, JSON.stringify(head), dataText, hash);
    store.db.prepare("UPDATE origin SET next_seq = ?, head = ? WHERE id = ?").run(origin.nextSeq + 1, hash, origin.id);
    return origin.nextSeq;
  });
}

export type { JsonObject };
