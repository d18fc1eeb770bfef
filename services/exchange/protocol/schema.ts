import { HEAD_FIELDS } from "../../core/index.ts";

/**
 * The versions of a page's form, by number. What an older reader would misread gets a number and a line here; what it may pass over goes into `more`.
 *
 *   1   the first
 */
export const PAGE_FORMS = { oldest: 1, newest: 1 } as const;

/** How a frame with a page begins: `T`, `P`. */
export const PAGE_MAGIC = [0x54, 0x50] as const;
/** Lines, members, names, references to events, at most so many of each. */
export const MAX_PAGE_ITEMS = 100_000;
/** What `more` holds, by tag. Tags are never used again for anything else. `readers`: JSON. */
export const PAGE_MORE = { readers: 1 } as const;
/** At most so many buckets, views and schemas; and members of `more`. */
export const MAX_PAGE_LIST = 10_000;

const ints = { type: "array", items: "int" } as const;
const longs = { type: "array", items: "long" } as const;
const strings = { type: "array", items: "string" } as const;
const array = <T>(items: T) => ({ type: "array", items }) as const;
const record = <Name extends string, Fields>(name: Name, fields: Fields) => ({ type: "record", name, fields }) as const;
const hexText = ["string", "bytes"] as const;
const optional = <T extends string>(type: T) => ["null", type] as const;
const EVENTS_DOC = "indexes of events, each counted back from the first that is not mentioned yet: 0 is that one";

const LINES = record("Lines", [
  { name: "bucket", type: "int" },
  { name: "kind", type: ints, doc: "0 enter, 1 event, 2 exit" },
  { name: "entity", type: ints, doc: "0: the entity of the line's first event; k: names[k - 1]" },
  {
    name: "position",
    type: longs,
    doc: "difference to the line's last event; without one, to the line before; the first to through",
  },
  { name: "histories", type: ints, doc: "of each enter: how many events" },
  { name: "events", type: ints, doc: EVENTS_DOC },
  { name: "digests", type: "bytes", doc: "of each exit: 32 bytes" },
  {
    name: "seals",
    type: longs,
    doc: "three numbers a seal: lines, seal, through; each the difference to the mark before; the first to 0, the page's seal, its through",
  },
  {
    name: "to",
    type: record("Cursor", [
      { name: "seal", type: "long" },
      { name: "head", type: { type: "fixed", name: "Hash", size: 32 } },
      { name: "line", type: "long" },
      { name: "digest", type: "Hash" },
    ]),
  },
]);

const MEMBERS = record("Members", [
  { name: "bucket", type: "int" },
  { name: "entity", type: ints, doc: "0: the entity of the member's first event; k: names[k - 1]" },
  { name: "histories", type: ints, doc: "how many events each has" },
  { name: "events", type: ints, doc: EVENTS_DOC },
  { name: "told", type: ints, doc: "1: the digest stands in digests; 0: it is that of the member's events" },
  { name: "digests", type: "bytes" },
  { name: "stateCounts", type: ints, doc: "how many states each has; empty when none has any" },
  { name: "stateViews", type: ints, doc: "index in views" },
  { name: "states", type: strings },
  { name: "gone", type: array(["string", "Uuid"] as const) },
  { name: "after", type: optional("string") },
]);

const REST = [
  record("Ranges", [
    { name: "bucket", type: "int" },
    {
      name: "ranges",
      type: array(
        record("Range", [
          { name: "prefix", type: "string" },
          { name: "count", type: "long" },
          { name: "fingerprint", type: "Half" },
        ]),
      ),
    },
  ]),
  record("Listed", [
    { name: "bucket", type: "int" },
    { name: "prefix", type: "string" },
    { name: "entities", type: array(["string", "Uuid"] as const) },
    { name: "digests", type: "bytes" },
  ]),
  record("Same", [
    { name: "bucket", type: "int" },
    { name: "seal", type: "long" },
    { name: "through", type: "long" },
    { name: "head", type: "Hash" },
    { name: "count", type: "long" },
    { name: "fingerprint", type: "Half" },
  ]),
  record("Unknown", [{ name: "bucket", type: "int" }]),
] as const;

/** What a page says beside its events and sections. */
const FRONT = [
  { name: "hub", type: "string" },
  { name: "incarnation", type: "string" },
  { name: "nowMs", type: "long" },
  { name: "seal", type: "long" },
  { name: "through", type: optional("long") },
  { name: "hasMore", type: "boolean" },
  { name: "buckets", type: array({ type: "fixed", name: "Half", size: 16 } as const), doc: "the ids that the rest points to" },
  {
    name: "holding",
    type: [
      "null",
      record("Holding", [
        { name: "digest", type: hexText, doc: "bytes: a text of hexadecimal digits" },
        {
          name: "buckets",
          type: array(
            record("HeldBucket", [
              { name: "bucket", type: "int" },
              { name: "entityType", type: "string" },
              { name: "values", type: "string", doc: "JSON" },
              { name: "priority", type: "int" },
              { name: "statesOnly", type: "boolean" },
            ]),
          ),
        },
      ]),
    ],
  },
  {
    name: "ends",
    type: ["null", array(["null", { type: "fixed", name: "End", size: 8 }] as const)],
    doc: "null within: the bucket has no segment",
  },
  {
    name: "withdrawn",
    type: array(
      record("Withdrawn", [
        { name: "bucket", type: "int" },
        { name: "why", type: "string" },
      ]),
    ),
  },
  {
    name: "shapes",
    type: array(
      record("Shape", [
        { name: "view", type: "string" },
        { name: "digest", type: hexText },
      ]),
    ),
  },
  {
    name: "news",
    type: array(
      record("SchemaNews", [
        { name: "subject", type: "string" },
        { name: "version", type: "int" },
        { name: "kind", type: { type: "enum", name: "SchemaKind", symbols: ["avro", "json"] } },
        { name: "text", type: "string" },
        {
          name: "references",
          type: array(
            record("Reference", [
              { name: "name", type: "string" },
              { name: "subject", type: "string" },
              { name: "version", type: "int" },
            ]),
          ),
        },
      ]),
    ),
  },
] as const;

/** What is said of an event beside its hash, for the few of which something is said. `skip`: so many events lie between it and the one before of which the same is said. */
const NOTES = [
  {
    name: "held",
    type: array(
      record("Held", [
        { name: "skip", type: "int" },
        { name: "code", type: "string" },
        { name: "message", type: "string" },
        { name: "path", type: optional("string") },
      ]),
    ),
  },
  {
    name: "clocks",
    type: array(
      record("Clock", [
        { name: "skip", type: "int" },
        { name: "offsetMs", type: "string", doc: "a number as JSON" },
      ]),
    ),
  },
  {
    name: "clips",
    type: array(
      record("Clips", [
        { name: "skip", type: "int" },
        {
          name: "clips",
          type: array(
            record("Clip", [
              { name: "origin", type: "int" },
              { name: "code", type: { type: "enum", name: "ClipCode", symbols: ["basis_ahead", "basis_other_entity"] } },
              { name: "to", type: "long", doc: "-1: nothing counts as seen" },
            ]),
          ),
        },
      ]),
    ),
  },
] as const;

/** The Avro schema of the record inside a page's frame, in its newest version. */
export const PAGE_SCHEMA = {
  type: "record",
  name: "Page",
  namespace: "tributary.wire",
  fields: [
    ...FRONT,
    // `wallMs`: difference to the stamp of the event before of the same origin; the first of an origin to its recordedAtMs.
    ...HEAD_FIELDS,
    { name: "origin", type: ints, doc: "index in origins" },
    {
      name: "seq",
      type: longs,
      doc: "0: the one after the origin's last event here (0 for its first); else the difference to that",
    },
    { name: "position", type: longs, doc: "difference to the event before; the first to through" },
    { name: "recordedMs", type: longs, doc: "difference to the event before; the first to nowMs" },
    { name: "encoding", type: ints, doc: "0 text as it is, 1 Avro, 2: the asker has the event, 3: a JSON object by its members" },
    { name: "length", type: ints },
    { name: "data", type: "bytes" },
    { name: "members", type: strings, doc: "the names that objects have, each as JSON" },
    { name: "objects", type: array(ints), doc: "the members that an object has, in their order: indexes in members" },
    { name: "object", type: ints, doc: "of each event with the encoding 3: index in objects" },
    {
      name: "values",
      type: strings,
      doc: "of each member: its values, each with a line break behind it: JSON, a text without its closing quotation mark; = is the entity's id, @ the day of occurredAt",
    },
    { name: "prevs", type: "bytes", doc: "32 each, for events whose predecessor in their origin is not in the page, but seq 0" },
    { name: "hashes", type: "bytes", doc: "32 each, for events with the encoding 2" },
    ...NOTES,
    { name: "views", type: strings },
    { name: "names", type: array(["string", "Uuid"] as const), doc: "of entities that are not those of the events beside them" },
    { name: "sections", type: array([LINES, MEMBERS, ...REST] as const) },
    {
      name: "more",
      type: array(
        record("More", [
          { name: "tag", type: "int" },
          { name: "value", type: "bytes" },
        ]),
      ),
      doc: "what came later, by tag; a reader passes over tags that it does not know",
    },
  ],
} as const;
