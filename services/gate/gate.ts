import {
  canonicalize,
  dataOutOfRange,
  type EventBody,
  envelopeOutOfRange,
  isJsonObject,
  type JsonObject,
  type JsonValue,
  messageOf,
  type OutOfRange,
  type PackedEvent,
  parseCanonical,
  RESOLVED,
  type SchemaRef,
} from "../core/index.ts";
import type { Decoded } from "./avro/decode.ts";
import { utf8Bytes, utf8Text } from "./bytes.ts";
import { type Casters, NO_CASTERS, route, runCaster } from "./casters.ts";
import { type Compiled, compile } from "./compiled.ts";
import { type SchemaStore, type SchemaVersion, shortFingerprint } from "./schema.ts";
import { bounded, type Problem } from "./words.ts";

export type Verdict =
  | { readonly ok: true; readonly data: JsonObject; readonly text: string }
  /** `text`: what the event's hash covers, where it can be told; `null` for Avro bytes that cannot be decoded. */
  | { readonly ok: false; readonly problem: Problem; readonly text: string | null };

/**
 * Tells why some view cannot show what an event writes; `null`: all can. Door and device are handed it, for they know nothing of views. Called for every
 * event that fits its schema; never throws.
 */
export type Fits = (head: FitsHead, data: JsonObject) => Problem | null;
export type FitsHead = Pick<EventBody, "type" | "entity" | "schema" | "origin" | "actor" | "occurredAt">;

/** The versions that somebody reads with, by subject; a subject that is not named is read as its first. */
export type Pins = Readonly<Record<string, number>>;

export interface Gate {
  /** The hub's door: decodes with the writer's version and validates. Never throws for what an event holds. */
  admit(event: PackedEvent): Verdict;
  /** The device's side: the data as it will be hashed and sent, its canonical text, and what is wrong with it. */
  pack(
    schema: SchemaRef,
    data: JsonObject,
  ): { readonly data: JsonObject; readonly text: string; readonly problem: Problem | null };
  /** The travelling form of canonical text: Avro where allowed and exact, else the text itself. */
  payload(schema: SchemaRef, text: string, avroAllowed: boolean): Pick<PackedEvent, "encoding" | "payload">;
  /** The short fingerprint of a schema, which tells it from others of its name; empty for one that is not known. */
  fingerprint(schema: SchemaRef): string;
  /**
   * Data of any version as `pins` (default: the newest) has it. Data of an unknown schema is returned as it is. Throws where the one cannot
   * be read as the other, which only a change registered without compatibility can bring about.
   */
  read(schema: SchemaRef, data: JsonObject, pins?: Pins): { readonly data: JsonObject; readonly version: number };
  /** What is wrong with data of a schema and event type; `null` when it can be accepted. */
  check(schema: SchemaRef, type: string, entity: string, data: JsonObject): Problem | null;
  /**
   * What is wrong with a value for one field of an entity, by the newest schemas that its events are written with; `null` when some schema has the field
   * and none objects. For values that do not come as a whole form.
   */
  checkField(entity: string, name: string, value: JsonValue): Problem | null;
  /** Every problem that can be told of data at once; for who is to mend it. */
  problems(schema: SchemaRef, data: JsonObject): readonly Problem[];
  /** Makes sure that schemas which others have registered are known here. */
  ensure(schemas: Iterable<SchemaRef>): Promise<void>;
  knows(schema: SchemaRef): boolean;
  newest(subject: string): SchemaVersion | undefined;
  /** The newest version of every subject that events are written with. */
  subjects(): readonly SchemaVersion[];
  /** The newest version of the subject that declares this event type. */
  subjectFor(eventType: string): SchemaVersion | undefined;
  /** The newest version of every subject, to read with from now on. */
  pins(): Pins;
  /** What an Avro sender may use: `subject@version` → fingerprint. */
  avroFingerprints(): Record<string, string>;
  readonly store: SchemaStore;
  readonly casters: Casters;
}

/** A schema whose events may be about any entity says this instead of its type. */
export const ANY_ENTITY = "*";

/** Makes a gate over a schema store, which may grow. Schemas are compiled when first used. */
export function createGate(
  store: SchemaStore,
  { casters = NO_CASTERS, refresh }: { readonly casters?: Casters; readonly refresh?: (subject: string) => Promise<void> } = {},
): Gate {
  const compiled = new Map<SchemaVersion, Compiled | string>();
  const find = ({ subject, version }: SchemaRef): SchemaVersion | undefined => store.versions(subject)[version - 1];
  /** The compiled schema; a text says why there is none. */
  const compiledOf = (ref: SchemaRef): Compiled | string => {
    const schema = find(ref);
    if (schema === undefined) return `the hub does not know ${ref.subject} version ${ref.version}`;
    let known = compiled.get(schema);
    if (known === undefined) {
      try {
        known = compile(schema);
      } catch (error) {
        known = `events cannot be written with ${ref.subject} version ${ref.version}: ${messageOf(error)}`;
      }
      compiled.set(schema, known);
    }
    return known;
  };
  const newest = (subject: string): SchemaVersion | undefined => store.versions(subject).at(-1);
  const unknown = (message: string): Problem => ({ code: "schema-unknown", message, path: null });
  const outOfRange = (found: OutOfRange | null): Problem | null =>
    found === null
      ? null
      : { code: "out-of-range", message: bounded(found.message), path: found.path === null ? null : bounded(found.path) };
  const misplaced = (type: string, entity: string, { annotations, subject }: SchemaVersion): Problem | null => {
    if (!annotations.events.includes(type))
      return { code: "type-not-allowed", message: `${subject} is not for events of type ${type}`, path: null };
    return annotations.entity === entity || annotations.entity === ANY_ENTITY
      ? null
      : { code: "entity-not-allowed", message: `${subject} is about a ${annotations.entity}, not a ${entity}`, path: null };
  };

  function checkField(entity: string, name: string, value: JsonValue): Problem | null {
    let isKnown = false;
    for (const subject of store.subjects()) {
      const { annotations, version } = newest(subject)!;
      if (annotations.entity !== entity || annotations.events.length === 0) continue;
      const reader = compiledOf({ subject, version });
      const problem = typeof reader === "string" ? undefined : reader.checkField(name, value);
      if (problem === undefined) continue;
      if (problem !== null) return { ...problem, path: `/values${problem.path ?? ""}` };
      isKnown = true;
    }
    if (isKnown) return null;
    return { code: "invalid", message: `${name} is no field that events about a ${entity} may write`, path: `/values/${name}` };
  }

  /** A decision on any entity's fields is held to what its own forms say of them; `null` empties a field, as everywhere. */
  const misdecided = ({ type, entity }: PackedEvent["head"], data: JsonObject): Problem | null => {
    if (type !== RESOLVED || !isJsonObject(data.values ?? null)) return null;
    for (const [name, value] of Object.entries(data.values as JsonObject)) {
      const problem = value === null ? null : checkField(entity.type, name, value);
      if (problem !== null) return problem;
    }
    return null;
  };

  const admitJson = (head: PackedEvent["head"], payload: Uint8Array, writer: Compiled | string): Verdict => {
    const text = utf8Text(payload);
    const parsed = parseCanonical(text);
    const no = (code: Problem["code"], message: string): Verdict => ({ ok: false, problem: { code, message, path: null }, text });
    if (parsed === null)
      return isJson(text) ? no("not-canonical", "its data is not in canonical form") : no("not-json", "its data is no JSON");
    if (!isJsonObject(parsed.value)) return no("not-json", "its data is no JSON object");
    if (typeof writer === "string") return { ok: false, problem: unknown(writer), text };
    const problem =
      misplaced(head.type, head.entity.type, writer.schema) ??
      writer.check(parsed.value) ??
      misdecided(head, parsed.value) ??
      outOfRange(dataOutOfRange(parsed.value, text));
    return problem === null ? { ok: true, data: parsed.value, text } : { ok: false, problem, text };
  };

  const admitAvro = (head: PackedEvent["head"], payload: Uint8Array, writer: Compiled | string): Verdict => {
    if (typeof writer === "string") return { ok: false, problem: unknown(writer), text: null };
    if (writer.schema.kind !== "avro")
      return { ok: false, problem: unknown(`${head.schema.subject} is no Avro schema`), text: null };
    let decoded: Decoded;
    try {
      decoded = writer.decode(payload);
    } catch (error) {
      return {
        ok: false,
        problem: { code: "undecodable", message: `its data is no ${head.schema.subject}: ${messageOf(error)}`, path: null },
        text: null,
      };
    }
    const problem =
      misplaced(head.type, head.entity.type, writer.schema) ??
      (decoded.ok ? outOfRange(dataOutOfRange(decoded.data, decoded.text)) : null);
    return problem === null ? decoded : { ok: false, problem, text: decoded.text };
  };

  return {
    store,
    casters,
    admit({ head, fingerprint, encoding, payload }) {
      const writer = compiledOf(head.schema);
      const verdict = (encoding === "avro" ? admitAvro : admitJson)(head, payload, writer);
      // First of all that may be wrong: no schema and no correction of the data mends an envelope.
      const outside = outOfRange(envelopeOutOfRange(head));
      if (outside !== null) return { ok: false, problem: outside, text: verdict.text };
      if (fingerprint === undefined || typeof writer === "string" || writer.schema.fingerprint.startsWith(fingerprint))
        return verdict;
      const { subject, version } = head.schema;
      const message = `it was written with another ${subject} version ${version} than the one registered here`;
      return {
        ok: false,
        problem: { code: "schema-differs", message, path: null },
        text: encoding === "avro" ? null : verdict.text,
      };
    },

    pack(schema, data) {
      const writer = compiledOf(schema);
      if (typeof writer === "string") return { data, text: canonicalize(data), problem: unknown(writer) };
      const problem = writer.check(data);
      const normal = problem === null ? writer.normalise(data) : data;
      const text = canonicalize(normal);
      return { data: normal, text, problem: problem ?? outOfRange(dataOutOfRange(normal, text)) };
    },

    payload(schema, text, avroAllowed) {
      const asJson = { encoding: "json", payload: utf8Bytes(text) } as const;
      const writer = avroAllowed ? compiledOf(schema) : "";
      if (typeof writer === "string" || writer.schema.kind !== "avro") return asJson;
      try {
        const payload = writer.encode(JSON.parse(text) as JsonObject);
        return writer.decode(payload).text === text ? { encoding: "avro", payload } : asJson;
      } catch {
        return asJson;
      }
    },

    fingerprint(ref) {
      const schema = find(ref);
      return schema === undefined ? "" : shortFingerprint(schema);
    },

    read(schema, data, pins) {
      const { subject, version } = schema;
      const target = pins === undefined ? newest(subject)?.version : (pins[subject] ?? 1);
      const writer = compiledOf(schema);
      if (target === undefined || typeof writer === "string") return { data, version };
      const reader = compiledOf({ subject, version: target });
      if (typeof reader === "string") return { data, version };
      const steps = target === version ? null : route(casters, subject, version, target);
      if (steps === null) {
        return reader.schema.kind !== writer.schema.kind
          ? { data, version }
          : { data: reader.readFrom(writer, data), version: target };
      }
      let at = writer;
      let value = data;
      for (const { to, cast } of steps) {
        const next = compiledOf({ subject, version: to });
        if (typeof next === "string") throw new TypeError(next);
        value = cast === null ? next.readFrom(at, value) : runCaster(cast, value);
        at = next;
      }
      return { data: reader.readFrom(reader, value), version: target };
    },

    check(schema, type, entity, data) {
      const writer = compiledOf(schema);
      return typeof writer === "string"
        ? unknown(writer)
        : (misplaced(type, entity, writer.schema) ?? writer.check(data) ?? outOfRange(dataOutOfRange(data)));
    },

    checkField,

    problems(schema, data) {
      const writer = compiledOf(schema);
      if (typeof writer === "string") return [unknown(writer)];
      const outside = outOfRange(dataOutOfRange(data));
      return outside === null ? writer.checkAll(data) : [...writer.checkAll(data), outside];
    },
    async ensure(schemas) {
      if (refresh === undefined) return;
      const subjects = new Set<string>();
      for (const ref of schemas) if (find(ref) === undefined) subjects.add(ref.subject);
      await Promise.all([...subjects].map(refresh));
    },
    knows: (ref) => find(ref) !== undefined,
    newest,
    subjects: () =>
      store
        .subjects()
        .map((subject) => newest(subject)!)
        .filter(({ annotations }) => annotations.events.length > 0),
    subjectFor(eventType) {
      for (const subject of store.subjects()) {
        const last = newest(subject);
        if (last?.annotations.events.includes(eventType)) return last;
      }
      return undefined;
    },
    pins: () => Object.fromEntries(store.subjects().map((subject) => [subject, store.versions(subject).length])),
    avroFingerprints() {
      const out: Record<string, string> = {};
      for (const subject of store.subjects()) {
        for (const { version, kind, fingerprint } of store.versions(subject))
          if (kind === "avro") out[`${subject}@${version}`] = fingerprint;
      }
      return out;
    },
  };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
