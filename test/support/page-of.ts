/** Pages that a hub would answer with, made of events of its log. */
import {
  type Bucket,
  bucketIdOf,
  FEED_START,
  GENESIS,
  headAfter,
  type IncarnationId,
  type Position,
  segmentDigest,
} from "../../services/core/index.ts";
import { chainHash, sha256Hex, zstd } from "../../services/core/node.ts";
import {
  historyDigest,
  type Page,
  type PagedEvent,
  type PagedLine,
  type PageReading,
  type PageWriting,
  type Section,
} from "../../services/exchange/protocol/index.ts";

/** Node's own zstd and SHA-256. */
export const writing: PageWriting = { compression: zstd, sha256: sha256Hex };
export const reading: PageReading = { compression: zstd, chainHash, sha256: sha256Hex };

const HUB = "abcdefghijkl" as IncarnationId;
export const bucketOf = (entityType: string, ...values: Bucket["values"]): Bucket => ({ entityType, values });

/** The lines that a bucket's feed has of events: an entity's first event enters it. */
function linesOf(events: readonly PagedEvent[]): PagedLine[] {
  const seen = new Set<string>();
  return events.map((event): PagedLine => {
    const { id } = event.head.entity;
    const kind = seen.has(id) ? "event" : "enter";
    seen.add(id);
    return { kind, position: event.position, entityId: id, events: [event], digest: null };
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
      (before, line) => segmentDigest(before, { ...line, digest: historyDigest(line.events, sha256Hex) ?? GENESIS }, sha256Hex),
      GENESIS,
    );
    const head = headAfter(GENESIS, { seal, through: end, digest }, sha256Hex);
    const to = { ...FEED_START, seal, head };
    return { kind: "lines", bucket, lines, seals: [{ lines: lines.length, seal, through: end }], to };
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
