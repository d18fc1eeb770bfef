/** Pages as no hub would make them, of everything that a page may hold: for tests of their form on the wire. */
import fc from "fast-check";
import {
  type BucketHead,
  type BucketId,
  type Clips,
  type Cursor,
  canonicalize,
  type EventBody,
  eventText,
  formatHlc,
  GENESIS,
  type Hash,
  type IncarnationId,
  type KeyRange,
  MAX_COUNTER,
  type OriginId,
  type Position,
  type Seq,
} from "../../services/core/index.ts";
import { chainHash, sha256Hex } from "../../services/core/node.ts";
import {
  historyDigest,
  type Page,
  type PagedEvent,
  type PagedLine,
  type Section,
} from "../../services/exchange/protocol/index.ts";

const text = fc.string({ unit: "binary", minLength: 1, maxLength: 12 });
const hex = (bytes: number): fc.Arbitrary<string> =>
  fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((of) => Buffer.from(of).toString("hex"));
const hash = hex(32) as fc.Arbitrary<string> as fc.Arbitrary<Hash>;
const bucketId = hex(16) as fc.Arbitrary<string> as fc.Arbitrary<BucketId>;
const id = fc.oneof(text, fc.uuid(), fc.constantFrom("KLA-000042", "NBO-000017"));
const count = fc.nat(2 ** 40);
/** Positions as logs of some size have them. Avro's own reader is not exact beyond 2^52, ours is up to 2^53. */
const position = fc.nat(2 ** 51).map((n) => BigInt(n) as Position);
const incarnation = fc.string({
  unit: fc.constantFrom(..."abcdefgh234567"),
  minLength: 12,
  maxLength: 12,
}) as fc.Arbitrary<string> as fc.Arbitrary<IncarnationId>;
const ORIGINS = ["relief.juba.t1.abc", "relief.juba.t2.def", "relief.kampala.t1.ghi", "relief.hub.hub.jkl"] as OriginId[];
const origin = fc.constantFrom(...ORIGINS);
const wallMs = fc.integer({ min: Date.UTC(2020, 0), max: Date.UTC(2040, 0) });
/** What an event says: canonical JSON mostly, or a text that is none. */
const data = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .dictionary(fc.oneof(text, fc.constantFrom("phone", "village", "__proto__")), fc.jsonValue(), { maxKeys: 4 })
      .map((of) => canonicalize(of)),
  },
  text,
);
const clips: fc.Arbitrary<Clips> = fc
  .dictionary(
    origin,
    fc.record({
      code: fc.constantFrom("basis-ahead" as const, "basis-other-entity" as const),
      to: fc.option(fc.nat() as fc.Arbitrary<number> as fc.Arbitrary<Seq>),
    }),
  )
  .map((of) => ({ ...of }));

/** An event without what its place in a chain says. */
const told = fc.record({
  head: fc.record(
    {
      type: fc.constantFrom("beneficiary.registered", "beneficiary.updated", "case.commented"),
      entity: fc.record({ type: fc.constantFrom("beneficiary", "case"), id }),
      schema: fc.record({ subject: fc.constantFrom("beneficiary", "note"), version: fc.integer({ min: 1, max: 4 }) }),
      actor: text,
      occurredAt: wallMs.map((ms) => new Date(ms).toISOString()),
      hlc: fc.record({ wallMs, counter: fc.nat(MAX_COUNTER) }).map(formatHlc),
      correlationId: id,
      causationId: id,
    },
    { requiredKeys: ["type", "entity", "schema", "actor", "occurredAt", "hlc"] },
  ),
  seen: fc.dictionary(origin, fc.nat(100), { maxKeys: 3 }),
  data,
  /** Whether its data says what its head says already. */
  isEcho: fc.boolean(),
  isOwn: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, fc.constant(true)),
  position,
  recordedAtMs: wallMs,
  held: fc.option(fc.record({ code: text, message: text, path: fc.option(text) }), { freq: 4, nil: null }),
  clock: fc.option(
    fc.record({
      offsetMs: fc.oneof(
        fc.integer(),
        fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => n + 0),
      ),
    }),
    { freq: 4, nil: null },
  ),
  clips: fc.option(clips, { freq: 4, nil: undefined }),
});
type Told = typeof told extends fc.Arbitrary<infer T> ? T : never;

/** A chain of events of one origin, from some seq on. */
function chainOf(of: OriginId, first: number, before: Hash, events: readonly Told[]): PagedEvent[] {
  let prev = first === 0 ? GENESIS : before;
  return events.map(({ head: given, seen, data: own, isEcho, isOwn, clips: clipped, ...rest }, i): PagedEvent => {
    const seq = (first + i) as Seq;
    const basis = Object.fromEntries(
      Object.entries(seen)
        .map(([known, n]) => [known, known === of ? Math.min(n, seq - 1) : n])
        .filter(([, n]) => Number(n) >= 0),
    );
    const head: Omit<EventBody, "data"> = { ...given, origin: of, seq, org: "relief", basis };
    const day = given.occurredAt.slice(0, 10);
    const said = isEcho ? canonicalize({ id: given.entity.id, day, signs: "=", at: "@", list: [day] }) : own;
    const hashed = chainHash(prev, eventText(head, said));
    const event = {
      ...rest,
      head,
      prev,
      hash: hashed,
      text: isOwn ? null : said,
      ...(clipped === undefined ? {} : { clips: clipped }),
    };
    prev = hashed;
    return event;
  });
}

const chains = fc
  .tuple(
    ...ORIGINS.map((of) => fc.tuple(fc.nat(3), hash, fc.array(told, { maxLength: 5 })).map((given) => chainOf(of, ...given))),
  )
  .map((each) => each.flat());

const cursor: fc.Arbitrary<Cursor> = fc.record({ seal: count, head: hash, line: count, digest: hash });
const head: fc.Arbitrary<Omit<BucketHead, "bucket">> = fc.record({
  seal: count,
  through: position,
  head: hash,
  count,
  fingerprint: hex(16),
});
const range: fc.Arbitrary<KeyRange> = fc.record({ prefix: hex(2), count, fingerprint: hex(16) });

/** Sections that name these events, some of them several times. */
function sectionsOf(pool: readonly PagedEvent[]): fc.Arbitrary<Section> {
  const event = pool.length === 0 ? null : fc.constantFrom(...pool);
  const events = event === null ? fc.constant([]) : fc.array(event, { maxLength: 4 });
  const named = (of: readonly PagedEvent[]): fc.Arbitrary<string> =>
    of[0] === undefined ? id : fc.oneof(id, fc.constant(of[0].head.entity.id));
  const line = fc.oneof(
    fc.record({ kind: fc.constant("exit" as const), position, entityId: id, events: fc.constant([]), digest: hash }),
    events.chain((of) =>
      fc.record({
        kind: fc.constant("enter" as const),
        position,
        entityId: named(of),
        events: fc.constant(of),
        digest: fc.constant(null),
      }),
    ),
    ...(event === null
      ? []
      : [
          event.chain((of) =>
            fc.record({
              kind: fc.constant("event" as const),
              position: fc.oneof(position, fc.constant(of.position)),
              entityId: named([of]),
              events: fc.constant([of]),
              digest: fc.constant(null),
            }),
          ),
        ]),
  ) as fc.Arbitrary<PagedLine>;
  const member = events.chain((of) =>
    fc.record({
      entityId: named(of),
      events: fc.constant(of),
      digest: fc.oneof(hash, fc.constant(historyDigest(of, sha256Hex) ?? GENESIS)),
      states: fc
        .dictionary(fc.constantFrom("people", "handouts", "__proto__"), text, { maxKeys: 2 })
        .map((states) => Object.fromEntries(Object.entries(states))),
    }),
  );
  return fc.oneof(
    fc.record({
      kind: fc.constant("lines" as const),
      bucket: bucketId,
      lines: fc.array(line, { maxLength: 6 }),
      seals: fc.array(fc.record({ lines: count, seal: count, through: position }), { maxLength: 3 }),
      to: cursor,
    }),
    fc.record({
      kind: fc.constant("members" as const),
      bucket: bucketId,
      members: fc.array(member, { maxLength: 4 }),
      gone: fc.array(id, { maxLength: 2 }),
      after: fc.option(hex(8)),
    }),
    fc.record({ kind: fc.constant("ranges" as const), bucket: bucketId, ranges: fc.array(range, { maxLength: 3 }) }),
    fc.record({
      kind: fc.constant("listed" as const),
      bucket: bucketId,
      prefix: hex(1),
      entities: fc.array(fc.record({ entityId: id, digest: hash }), { maxLength: 3 }),
    }),
    fc.tuple(bucketId, head).map(([bucket, at]) => ({ kind: "same" as const, bucket, at: { ...at, bucket } })),
    fc.record({ kind: fc.constant("unknown" as const), bucket: bucketId }),
  );
}

const held = fc.record({
  bucket: bucketId,
  entityType: text,
  values: fc.array(
    fc.oneof(
      text,
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => n + 0),
    ),
    { maxLength: 3 },
  ),
  priority: fc.nat(9),
  statesOnly: fc.boolean(),
});
const digest = fc.oneof(hash as fc.Arbitrary<string>, text, fc.constantFrom("", "abc", "AB"));
const news = fc.record({
  subject: text,
  version: fc.integer({ min: 1, max: 999_999 }),
  kind: fc.constantFrom("avro" as const, "json" as const),
  text,
  references: fc.array(fc.record({ name: text, subject: text, version: fc.integer({ min: 1, max: 9 }) }), { maxLength: 2 }),
});

export const randomPage: fc.Arbitrary<Page> = chains.chain((pool) =>
  fc.record({
    hub: incarnation,
    incarnation,
    nowMs: wallMs,
    seal: count,
    through: fc.option(position),
    holding: fc.option(fc.record({ digest, buckets: fc.array(held, { maxLength: 3 }) })),
    ends: fc.option(fc.array(fc.oneof(fc.constant(""), hex(8)), { maxLength: 3 })),
    withdrawn: fc.array(fc.record({ bucket: bucketId, why: text }), { maxLength: 2 }),
    shapes: fc
      .dictionary(fc.oneof(text, fc.constant("__proto__")), digest, { maxKeys: 3 })
      .map((of) => Object.fromEntries(Object.entries(of))),
    schemas: fc.array(news, { maxLength: 2 }),
    sections: fc.array(sectionsOf(pool), { maxLength: 5 }),
    more: fc.boolean(),
  }),
);
