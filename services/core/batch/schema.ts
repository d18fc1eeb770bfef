const ints = { type: "array", items: "int" } as const;
const longs = { type: "array", items: "long" } as const;
const strings = { type: "array", items: "string" } as const;

/** What `more` holds, by tag. Tags are never used again for anything else. */
export const MORE = { signature: 1, heads: 2 } as const;
/** The Avro schema of what `more` holds under the tag `heads`. */
export const HEADS_SCHEMA = {
  type: "array",
  items: {
    type: "record",
    name: "SignedHead",
    namespace: "tributary.wire",
    fields: [
      { name: "origin", type: "string" },
      { name: "through", type: "long" },
      { name: "head", type: { type: "fixed", name: "Hash", size: 32 } },
      { name: "signature", type: { type: "fixed", name: "Ed25519", size: 64 } },
    ],
  },
} as const;

/** The fields of the events' heads, which batches and pages have alike (`heads.ts`). */
export const HEAD_FIELDS = [
  { name: "types", type: strings },
  {
    name: "schemas",
    type: {
      type: "array",
      items: {
        type: "record",
        name: "SchemaRef",
        fields: [
          { name: "subject", type: "string" },
          { name: "version", type: "int" },
          { name: "fingerprint", type: "string" },
        ],
      },
    },
  },
  { name: "actors", type: strings },
  { name: "origins", type: strings },
  { name: "entityTypes", type: strings },
  {
    name: "entities",
    type: {
      type: "array",
      items: {
        type: "record",
        name: "EntityRef",
        fields: [
          { name: "type", type: "int" },
          { name: "id", type: ["string", { type: "fixed", name: "Uuid", size: 16 }] },
        ],
      },
    },
  },
  { name: "links", type: { type: "array", items: ["string", "Uuid"] } },
  { name: "type", type: ints },
  { name: "schema", type: ints },
  { name: "actor", type: ints },
  { name: "entity", type: ints, doc: "0: the next entity of the dictionary; k: the one k before that" },
  { name: "wallMs", type: longs, doc: "difference to the event before; the first to sentAtMs" },
  { name: "counter", type: ints },
  { name: "occurredMs", type: longs, doc: "difference to the event's wallMs" },
  { name: "basis", type: longs, doc: "per event: how many pairs, then origin index and seq (own origin: event's seq − seq)" },
  { name: "correlation", type: ints, doc: "index in links + 1, 0 none; empty when no event has one" },
  { name: "causation", type: ints, doc: "likewise" },
] as const;

/** The Avro schema of the record inside a frame, in its newest version. */
export const BATCH_SCHEMA = {
  type: "record",
  name: "Batch",
  namespace: "tributary.wire",
  fields: [
    { name: "origin", type: "string" },
    { name: "firstSeq", type: "long" },
    { name: "prev", type: { type: "fixed", name: "Hash", size: 32 } },
    { name: "head", type: "Hash" },
    { name: "sentAtMs", type: "long" },
    ...HEAD_FIELDS,
    { name: "encoding", type: ints, doc: "0 JSON, 1 Avro" },
    { name: "length", type: ints },
    { name: "data", type: "bytes" },
    {
      name: "more",
      type: {
        type: "array",
        items: {
          type: "record",
          name: "More",
          fields: [
            { name: "tag", type: "int" },
            { name: "value", type: "bytes" },
          ],
        },
      },
      doc: "since version 2: what came later, by tag; a reader passes over tags that it does not know",
    },
  ],
} as const;
