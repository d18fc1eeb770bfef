/**
 * The heads of events as batches and pages have them: dictionaries of the texts that repeat, then a column for each member. Which origin and seq an event has, and which stamp its own is
 * counted from, each of the two says in its own way.
 */
import type { Reader, Writer } from "../avro-bytes.ts";
import { type EntityRef, type EventBody, envelopeProblem, type SchemaRef } from "../event.ts";
import { formatHlc, parseHlc } from "../hlc.ts";
import { isOriginId, type OriginId, orgOf, type Seq } from "../ids.ts";
import { MAX_BATCH_BASIS, MAX_BATCH_ORIGINS } from "./batch.ts";
import { type Dictionary, dictionary, pick, readTextOrUuid, writeTextOrUuid } from "./columns.ts";
import { quoted } from "./texts.ts";

type Head = Omit<EventBody, "data">;

/** Columns that hold one number for each event. */
const COLUMNS = ["type", "schema", "actor", "entity", "wallMs", "counter", "occurredMs"] as const;
type Column = (typeof COLUMNS)[number];
/** Columns that hold one number for each event, or are empty. */
const LINKS = ["correlation", "causation"] as const;

/** Heads by columns, and the dictionaries that they point into, while they are written. */
export interface HeadColumns extends Readonly<Record<Column | (typeof LINKS)[number] | "basis", number[]>> {
  readonly types: Dictionary;
  readonly schemas: Dictionary;
  readonly schemaRefs: (SchemaRef & { readonly fingerprint: string })[];
  readonly actors: Dictionary;
  readonly origins: Dictionary;
  readonly entityTypes: Dictionary;
  readonly entities: Dictionary;
  readonly entityRefs: EntityRef[];
  readonly links: Dictionary;
}

export const headColumns = (): HeadColumns => ({
  types: dictionary(),
  schemas: dictionary(),
  schemaRefs: [],
  actors: dictionary(),
  origins: dictionary(),
  entityTypes: dictionary(),
  entities: dictionary(),
  entityRefs: [],
  links: dictionary(),
  ...{ type: [], schema: [], actor: [], entity: [], wallMs: [], counter: [], occurredMs: [] },
  ...{ basis: [], correlation: [], causation: [] },
});

/** Adds a head, whose stamp is counted from `fromMs` on. Returns its stamp's wall clock. */
export function addHead(to: HeadColumns, head: Head, fingerprint: string, fromMs: number): number {
  const stamp = parseHlc(head.hlc);
  to.type.push(to.types.of(head.type));
  const schemaAt = to.schemas.of(`${head.schema.subject}@${head.schema.version}`);
  if (schemaAt === to.schemaRefs.length) to.schemaRefs.push({ ...head.schema, fingerprint });
  to.schema.push(schemaAt);
  to.actor.push(to.actors.of(head.actor));
  const entityAt = to.entities.of(`${head.entity.type}\n${head.entity.id}`);
  if (entityAt === to.entityRefs.length) {
    to.entityRefs.push(head.entity);
    to.entityTypes.of(head.entity.type);
    to.entity.push(0);
  } else {
    to.entity.push(to.entityRefs.length - entityAt);
  }
  to.wallMs.push(stamp.wallMs - fromMs);
  to.counter.push(stamp.counter);
  to.occurredMs.push(Date.parse(head.occurredAt) - stamp.wallMs);
  const known = Object.keys(head.basis).sort() as OriginId[];
  to.basis.push(known.length);
  for (const origin of known) {
    const seq = head.basis[origin] ?? 0;
    to.basis.push(to.origins.of(origin), origin === head.origin ? head.seq - seq : seq);
  }
  to.correlation.push(head.correlationId === undefined ? 0 : to.links.of(head.correlationId) + 1);
  to.causation.push(head.causationId === undefined ? 0 : to.links.of(head.causationId) + 1);
  return stamp.wallMs;
}

/** Writes the fields that `HEAD_FIELDS` declares. */
export function writeHeads(out: Writer, columns: HeadColumns): void {
  const { entityTypes, links } = columns;
  out.array(columns.types.list, out.string);
  out.array(columns.schemaRefs, ({ subject, version, fingerprint }) => {
    out.string(subject);
    out.long(version);
    out.string(fingerprint);
  });
  out.array(columns.actors.list, out.string);
  out.array(columns.origins.list, out.string);
  out.array(entityTypes.list, out.string);
  out.array(columns.entityRefs, (ref) => {
    out.long(entityTypes.of(ref.type));
    writeTextOrUuid(out, ref.id);
  });
  out.array(links.list, (link) => writeTextOrUuid(out, link));
  for (const column of COLUMNS) out.array(columns[column], out.long);
  out.array(columns.basis, out.long);
  for (const column of LINKS) out.array(links.list.length === 0 ? [] : columns[column], out.long);
}

/** A fingerprint has 64 digits, of which 16 travel. */
const MAX_FINGERPRINT = 64;

/** Numbers of the events' bases between two steps of reading: one event may have tens of thousands. */
export const STEP_NUMBERS = 10_000;

/** An array of numbers, read in steps. */
function* longsInSteps(from: Reader, max: number): Generator<void, number[]> {
  const out: number[] = [];
  for (let count = from.long(); count !== 0; count = from.long()) {
    if (count < 0) {
      count = -count;
      from.long();
    }
    if (out.length + count > max) throw new RangeError(`more than ${max} items`);
    for (let i = 0; i < count; i++) {
      out.push(from.long());
      if (out.length % STEP_NUMBERS === 0) yield;
    }
  }
  return out;
}

/** Heads by columns as they were read: each list within its bounds, all columns of one length. */
export type ReadHeads = ReturnType<typeof readHeads> extends Generator<void, infer T> ? T : never;

/** Reads the fields that `HEAD_FIELDS` declares, of at most `max` events, in steps. Throws `RangeError` for what is malformed. */
export function* readHeads(from: Reader, max: number) {
  const column = (): number[] => from.array(max, from.long);
  const types = from.array(max, from.string);
  const schemas = from.array(max, () => ({ subject: from.string(), version: from.long(), fingerprint: from.string() }));
  if (schemas.some(({ fingerprint }) => fingerprint.length > MAX_FINGERPRINT)) throw new RangeError("no fingerprint");
  const actors = from.array(max, from.string);
  const origins = from.array(MAX_BATCH_ORIGINS, () => originIn(from.string()));
  const entityTypes = from.array(max, from.string);
  const entities = from.array(max, () => ({ type: pick(entityTypes, from.long()), id: readTextOrUuid(from) }));
  const links = from.array(max * 2, () => readTextOrUuid(from));
  const [type, schema, actor, entity] = [column(), column(), column(), column()];
  const [wallMs, counter, occurredMs] = [column(), column(), column()];
  const basis = yield* longsInSteps(from, MAX_BATCH_BASIS);
  const [correlation, causation] = [column(), column()];
  if ([schema, actor, entity, wallMs, counter, occurredMs].some(({ length }) => length !== type.length))
    throw new RangeError("its columns differ in length");
  for (const optional of [correlation, causation]) {
    if (optional.length !== 0 && optional.length !== type.length) throw new RangeError("its columns differ in length");
    if (optional.some((index) => index < 0)) throw new RangeError("an index points nowhere");
  }
  return {
    ...{ types, schemas, actors, origins, entities, links, count: type.length },
    ...{ type, schema, actor, entity, wallMs, counter, occurredMs, basis, correlation, causation },
  };
}

export function originIn(text: string): OriginId {
  if (isOriginId(text)) return text;
  throw new RangeError(`${quoted(text)} is not an origin`);
}

/** How far the columns that do not hold one number for each event have been read. */
export interface HeadCursor {
  entity: number;
  basis: number;
}

/** The head of the event with the index `i`; they are read in order, each once. Throws `RangeError` for what cannot be an event. */
export function headAt(
  columns: ReadHeads,
  i: number,
  { origin, seq, wallMs }: { readonly origin: OriginId; readonly seq: number; readonly wallMs: number },
  at: HeadCursor,
): { readonly head: Head; readonly fingerprint: string } {
  const { correlation, causation, links } = columns;
  const back = pick(columns.entity, i);
  const entityAt = back === 0 ? at.entity++ : at.entity - back;
  const basis = basisIn(columns, { origin, seq }, at);
  const { subject, version, fingerprint } = pick(columns.schemas, pick(columns.schema, i));
  const head: Head = {
    type: pick(columns.types, pick(columns.type, i)),
    origin,
    seq: seq as Seq,
    entity: pick(columns.entities, entityAt),
    schema: { subject, version },
    actor: pick(columns.actors, pick(columns.actor, i)),
    org: orgOf(origin),
    occurredAt: new Date(wallMs + pick(columns.occurredMs, i)).toISOString(),
    hlc: formatHlc({ wallMs, counter: pick(columns.counter, i) }),
    basis,
    ...linkIn("correlationId", links, correlation[i]),
    ...linkIn("causationId", links, causation[i]),
  };
  const problem = envelopeProblem(head);
  if (problem !== null) throw new RangeError(`event ${seq}: ${problem}`);
  return { head, fingerprint };
}

function basisIn(
  { origins, basis }: ReadHeads,
  { origin, seq }: { readonly origin: OriginId; readonly seq: number },
  at: HeadCursor,
): EventBody["basis"] {
  const vector: Record<OriginId, Seq> = {};
  const pairs = pick(basis, at.basis++);
  if (pairs < 0 || pairs > origins.length) throw new RangeError("a basis names more origins than there are");
  for (let pair = 0; pair < pairs; pair++) {
    // A number that is not a seq is reported with the envelope.
    const of = pick(origins, pick(basis, at.basis++));
    const known = pick(basis, at.basis++);
    vector[of] = (of === origin ? seq - known : known) as Seq;
  }
  return vector;
}

/** `index`: where the link stands in `links`, counted from 1; 0 or nothing: there is no link. */
const linkIn = (name: "correlationId" | "causationId", links: readonly string[], index = 0): Partial<EventBody> =>
  index === 0 ? {} : { [name]: pick(links, index - 1) };
