import { MAX_BATCH_ORIGINS, MAX_FRAME_BYTES } from "./batch/batch.ts";
import { type EventBody, MAX_EVENT_BYTES, MAX_SCHEMA_VERSION, MAX_TEXT } from "./event.ts";
import { MAX_WALL_MS } from "./hlc.ts";
import { isJsonObject, type JsonObject, type JsonValue, MAX_JSON_DEPTH } from "./json.ts";

/**
 * What every stage behind the door can hold, for each member of an event. It is said once, here. The envelope's schema (`event.ts`) is as wide as the wire ever
 * was, so that no old event turns its batch into a dead letter. What it lets through beyond these ranges stands here as `carries`. From these ranges
 * follow the device's refusal, the gate's quarantine, what a test expects of the SQL columns, and the values that the tests are made of.
 */

/** A text of 1 to `maxChars` UTF-16 units. `isFree`: anything well-formed without U+0000; otherwise a name in ASCII. */
export interface TextRange {
  readonly kind: "text";
  readonly maxChars: number;
  readonly isFree: boolean;
  /** The wire lets U+0000 through as well, which PostgreSQL's text cannot hold. */
  readonly carriesNul: boolean;
}
export interface IntegerRange {
  readonly kind: "integer";
  readonly min: number;
  readonly max: number;
  readonly carries: { readonly min: number; readonly max: number };
}
/** An instant as ISO 8601 with milliseconds and `Z`. */
export interface InstantRange {
  readonly kind: "instant";
  readonly min: string;
  readonly max: string;
  readonly carries: { readonly min: string; readonly max: string };
}
export type Range = TextRange | IntegerRange | InstantRange;

const ascii = (maxChars: number): TextRange => ({ kind: "text", maxChars, isFree: false, carriesNul: false });
const free: TextRange = { kind: "text", maxChars: MAX_TEXT, isFree: true, carriesNul: true };
const integer = (min: number, max: number, carries = { min, max }): IntegerRange => ({ kind: "integer", min, max, carries });

/** Each part of an origin is a name of at most so many characters; an origin is four of them, with dots between. */
const MAX_NAME = 40;
/** Room for names, vectors and framing around an event's data. */
export const ENVELOPE_BYTES = 16_384;

type Head = Omit<EventBody, "data">;
/** Members that have no range as a whole: their parts have. */
type Parted = "entity" | "schema" | "hlc" | "basis";

/** The envelope, member by member. */
export const RANGES = {
  type: ascii(MAX_TEXT),
  origin: ascii(4 * MAX_NAME + 3),
  seq: integer(0, Number.MAX_SAFE_INTEGER),
  "entity.type": ascii(MAX_TEXT),
  "entity.id": free,
  "schema.subject": ascii(MAX_TEXT),
  "schema.version": integer(1, MAX_SCHEMA_VERSION, { min: 1, max: Number.MAX_SAFE_INTEGER }),
  actor: free,
  org: ascii(MAX_NAME),
  // ISO 8601 has a year 0, and PostgreSQL's calendar does not.
  occurredAt: {
    kind: "instant",
    min: "0001-01-01T00:00:00.000Z",
    max: "9999-12-31T23:59:59.999Z",
    carries: { min: "0000-01-01T00:00:00.000Z", max: "9999-12-31T23:59:59.999Z" },
  },
  "hlc.wallMs": integer(0, MAX_WALL_MS),
  "hlc.counter": integer(0, 0xffff),
  "basis.seq": integer(0, Number.MAX_SAFE_INTEGER),
  "basis.origins": integer(0, MAX_BATCH_ORIGINS),
  correlationId: free,
  causationId: free,
} as const satisfies Record<Exclude<keyof Head, Parted>, Range> & Record<string, Range>;
export type Member = keyof typeof RANGES;

/**
 * The range of an event's data: every text and every member's name is well-formed and without U+0000. Some texts do not compress at all (random characters from
 * all of Unicode): they must fit into a frame as they are, beside the envelope.
 */
export const DATA_RANGE = {
  maxDepth: MAX_JSON_DEPTH,
  maxBytes: Math.min(MAX_EVENT_BYTES, MAX_FRAME_BYTES) - ENVELOPE_BYTES,
} as const;

/** Why something lies outside its range: the member, the problem in words, and its location if it is in the data. */
export interface OutOfRange {
  readonly member: string;
  readonly message: string;
  /** JSON pointer into the data; `null`: in the envelope. */
  readonly path: string | null;
}

const MAX_SHOWN = 60;
const shown = (value: JsonValue): string => {
  const text = JSON.stringify(value);
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
};
const HOLDS_NUL = "holds the character U+0000, which no database text can hold";

type Check = (head: Head) => string | null;
const textCheck =
  (member: Member, of: (head: Head) => string | undefined): Check =>
  (head) => {
    const text = of(head);
    return text?.includes("\0") ? `${member} ${shown(text)} ${HOLDS_NUL}` : null;
  };
const integerCheck =
  (member: Member, { min, max }: IntegerRange, of: (head: Head) => number): Check =>
  (head) => {
    const n = of(head);
    return n < min || n > max ? `${member} ${n} is not between ${min} and ${max}` : null;
  };

/** All instants have the same length, so their texts sort as the instants do. */
const instantCheck =
  (member: Member, { min, max }: InstantRange, of: (head: Head) => string): Check =>
  (head) => {
    const text = of(head);
    return text < min || text > max ? `${member} ${shown(text)} is not between ${min} and ${max}` : null;
  };

function countOf(vector: Head["basis"]): number {
  let count = 0;
  for (const _ in vector) count++;
  return count;
}

/** Only members of which the wire carries more than their range need a check here: the envelope's schema has checked the others. */
const CHECKS: readonly (readonly [Member, Check])[] = [
  ["entity.id", textCheck("entity.id", ({ entity }) => entity.id)],
  ["actor", textCheck("actor", ({ actor }) => actor)],
  ["correlationId", textCheck("correlationId", ({ correlationId }) => correlationId)],
  ["causationId", textCheck("causationId", ({ causationId }) => causationId)],
  ["schema.version", integerCheck("schema.version", RANGES["schema.version"], ({ schema }) => schema.version)],
  ["occurredAt", instantCheck("occurredAt", RANGES.occurredAt, ({ occurredAt }) => occurredAt)],
  ["basis.origins", integerCheck("basis.origins", RANGES["basis.origins"], ({ basis }) => countOf(basis))],
];

/** The part of an envelope that some stage behind the door could not hold; `null`: there is none. The envelope's form was checked before (`envelopeProblem`). */
export function envelopeOutOfRange(head: Head): OutOfRange | null {
  for (const [member, check] of CHECKS) {
    const message = check(head);
    if (message !== null) return { member, message, path: null };
  }
  return null;
}

const escaped = (name: string): string => name.replaceAll("~", "~0").replaceAll("/", "~1");

/**
 * The part of an event's data that some stage behind the door could not hold; `null`: there is none. `text`: the data as canonical JSON, with which most
 * events pass in one look; canonical text is well-formed and within its depth.
 */
export function dataOutOfRange(data: JsonObject, text?: string): OutOfRange | null {
  if (text !== undefined && !text.includes("\\u0000")) return null;
  return nulIn(data, "", "");
}

function nulIn(value: JsonValue, path: string, name: string): OutOfRange | null {
  if (typeof value === "string")
    return value.includes("\0") ? { member: name, message: `${name} ${shown(value)} ${HOLDS_NUL}`, path } : null;
  if (typeof value !== "object" || value === null) return null;
  for (const [key, member] of Object.entries(value as JsonObject)) {
    const at = `${path}/${escaped(key)}`;
    const under = name === "" ? key : `${name}.${key}`;
    if (isJsonObject(value) && key.includes("\0"))
      return { member: under, message: `the name of the field ${shown(key)} ${HOLDS_NUL}`, path: at };
    const found = nulIn(member, at, under);
    if (found !== null) return found;
  }
  return null;
}

/** An upper estimate of the bytes that an event's basis takes as JSON. */
export function basisBytes(basis: Head["basis"]): number {
  let bytes = 0;
  for (const origin in basis) bytes += origin.length + 20;
  return bytes;
}
