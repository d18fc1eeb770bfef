/** Pages that a hub would answer with, made of events of its log. */
import {
  type Bucket,
  bucketIdOf,
  canonicalize,
  type EventBody,
  entityDigest,
  eventText,
  FEED_START,
  formatHlc,
  GENESIS,
  type Hash,
  headAfter,
  type IncarnationId,
  type OriginId,
  type Position,
  type Seq,
  segmentDigest,
  type Vector,
} from "../../services/core/index.ts";
import { chainHash, sha256Hex, zstd } from "../../services/core/node.ts";
import type { Page, PagedEvent, PagedLine, PageReading, PageWriting, Section } from "../../services/exchange/protocol/index.ts";

/** Node's own zstd and SHA-256. */
export const writing: PageWriting = { compression: zstd, sha256: sha256Hex };
export const reading: PageReading = { compression: zstd, chainHash, sha256: sha256Hex };

const HUB = "abcdefghijkl" as IncarnationId;
/** The bucket of a type without a scope, or of one that is told apart by district. */
export const bucketOf = (entityType: string, ...values: Bucket["values"]): Bucket => ({
  entityType,
  columns: values.length === 0 ? [] : ["district"],
  values,
});

/** The lines that a bucket's feed has of events, with the digest of the entity's history after each: an entity's first event enters it. */
function linesOf(events: readonly PagedEvent[]): { readonly line: PagedLine; readonly after: Hash }[] {
  const histories = new Map<string, Hash>();
  return events.map((event) => {
    const { id } = event.head.entity;
    const before = histories.get(id);
    const after = entityDigest(before ?? GENESIS, event.hash, sha256Hex);
    histories.set(id, after);
    const kind = before === undefined ? "enter" : "event";
    return { line: { kind, position: event.position, entityId: id, events: [event], digest: null }, after };
  });
}

/** A page that answers what came after a cursor: a section for each bucket, sealed as one segment. */
export function pageOf(events: readonly PagedEvent[], of: (event: PagedEvent) => Bucket): Page {
  const buckets = Map.groupBy(events, (event) => bucketIdOf(of(event)));
  const last = events.at(-1);
  const [seal, through] = [12, last?.position ?? null];
  const sections = [...buckets].map(([bucket, its]): Section => {
    const lines = linesOf(its);
    const end = its.at(-1)?.position ?? (0n as Position);
    const digest = lines.reduce(
      (before, { line, after }) => segmentDigest(before, { ...line, digest: after }, sha256Hex),
      GENESIS,
    );
    const head = headAfter(GENESIS, { seal, through: end, digest }, sha256Hex);
    const to = { ...FEED_START, seal, head };
    return {
      kind: "lines",
      bucket,
      lines: lines.map(({ line }) => line),
      seals: [{ lines: lines.length, seal, through: end }],
      to,
    };
  });
  const shapes = Object.fromEntries(
    ["assessments", "beneficiaries", "cases", "distributions", "policies", "sites", "stock"].map((view) => [
      view,
      sha256Hex(view),
    ]),
  );
  return {
    ...{ hub: HUB, incarnation: HUB, nowMs: (last?.recordedAtMs ?? 0) + 60_000, seal, through, holding: null, ends: null },
    ...{ withdrawn: [], shapes, schemas: [], sections, more: true },
  };
}

/** Pages of so many events each. */
export const pagesOf = (events: readonly PagedEvent[], size: number, of: (event: PagedEvent) => Bucket): Page[] =>
  Array.from({ length: Math.floor(events.length / size) }, (_, i) => pageOf(events.slice(i * size, (i + 1) * size), of));

/** The page that docs/exchange.md shows byte by byte: a person is registered in Kampala, and her telephone number is noted an hour later. */
export function workedPage(): Page {
  const origin = "relief.kampala.t1.q7wz3kd5m2ab" as OriginId;
  const entity = { type: "beneficiary", id: "KLA-000042" };
  const [registeredMs, recordedAtMs] = [Date.parse("2026-05-03T08:00:00Z"), Date.parse("2026-05-03T17:30:00Z")];
  const event = (seq: number, said: Pick<EventBody, "type" | "schema" | "data">, prev: Hash): PagedEvent => {
    const wallMs = registeredMs + seq * 3_600_000;
    const head = {
      ...{ type: said.type, origin, seq: seq as Seq, entity, schema: said.schema, actor: "okello", org: "relief" },
      ...{ occurredAt: new Date(wallMs).toISOString(), hlc: formatHlc({ wallMs, counter: 0 }) },
      basis: (seq === 0 ? {} : { [origin]: (seq - 1) as Seq }) as Vector,
    };
    const text = canonicalize(said.data);
    const position = BigInt(5_000 + seq * 1_000) as Position;
    return { head, prev, hash: chainHash(prev, eventText(head, text)), text, held: null, clock: null, position, recordedAtMs };
  };
  const data = { given_name: "Amina", registered_on: "2026-05-03", registration_no: "KLA-000042", sex: "female" };
  const first = event(0, { type: "beneficiary.registered", schema: { subject: "beneficiary", version: 1 }, data }, GENESIS);
  const schema = { subject: "beneficiary-update", version: 1 };
  const second = event(1, { type: "beneficiary.updated", schema, data: { phone: "+256700123456" } }, first.hash);
  const page = pageOf([first, second], () => bucketOf("beneficiary", "Kisenyi"));
  return { ...page, shapes: { beneficiaries: "b1e2f3a4c5d60718" }, more: false };
}
