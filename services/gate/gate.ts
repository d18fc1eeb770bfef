import {
  canonicalize,
  isJsonObject,
  isTributaryError,
  type JsonObject,
  messageOf,
  type PackedEvent,
  parseCanonical,
  type SchemaRef,
} from "../core/index.ts";
import { type Compiled, compile } from "./compiled.ts";
import type { SchemaStore, SchemaVersion } from "./store.ts";
import type { Problem } from "./words.ts";

export type Verdict =
  | { readonly ok: true; readonly data: JsonObject; readonly text: string }
  /** `text`: what the event's hash covers, where it can be told; `null` for Avro bytes that cannot be decoded. */
  | { readonly ok: false; readonly problem: Problem; readonly text: string | null };

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
  /** Data of any version as the newest version shows it. Data of an unknown schema is returned as it is. */
  read(schema: SchemaRef, data: JsonObject): { readonly data: JsonObject; readonly version: number };
  newest(subject: string): SchemaVersion | undefined;
  /** The newest version of every subject. */
  subjects(): readonly SchemaVersion[];
  /** The newest version of the subject that declares this event type. */
  subjectFor(eventType: string): SchemaVersion | undefined;
  /** What an Avro sender may use: `subject@version` → fingerprint. */
  avroFingerprints(): Record<string, string>;
}

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** Makes a gate over a schema store. Schemas are compiled when first used. */
export function createGate(store: SchemaStore): Gate {
  const compiled = new Map<string, Compiled | null>();
  const versionOf = ({ subject, version }: SchemaRef): Compiled | null => {
    const key = `${subject}@${version}`;
    let found = compiled.get(key);
    if (found === undefined) {
      const schema = store.versions(subject)[version - 1];
      found = schema === undefined ? null : compile(schema);
      compiled.set(key, found);
    }
    return found;
  };
  const newest = (subject: string): SchemaVersion | undefined => store.versions(subject).at(-1);
  const unknown = ({ subject, version }: SchemaRef): Problem => ({
    code: "schema-unknown",
    message: `the hub does not know ${subject} version ${version}`,
    path: null,
  });
  const misplaced = ({ head }: PackedEvent, { annotations, subject }: SchemaVersion): Problem | null => {
    if (!annotations.events.includes(head.type)) {
      return { code: "type-not-allowed", message: `${subject} is not for events of type ${head.type}`, path: null };
    }
    return annotations.entity === head.entity.type
      ? null
      : {
          code: "entity-not-allowed",
          message: `${subject} is about a ${annotations.entity}, not a ${head.entity.type}`,
          path: null,
        };
  };

  return {
    admit(event) {
      const { head, encoding, payload } = event;
      const writer = versionOf(head.schema);
      let data: JsonObject;
      let text: string;
      if (encoding === "avro") {
        if (writer === null || writer.schema.kind !== "avro") return { ok: false, problem: unknown(head.schema), text: null };
        try {
          data = writer.decode(payload);
          text = canonicalize(data);
        } catch (error) {
          return {
            ok: false,
            problem: { code: "undecodable", message: `its data is no ${head.schema.subject}: ${messageOf(error)}`, path: null },
            text: null,
          };
        }
      } else {
        text = decoder.decode(payload);
        const parsed = parseCanonical(text);
        if (parsed === null) {
          const code = isJson(text) ? "not-canonical" : "not-json";
          return {
            ok: false,
            problem: {
              code,
              message: code === "not-json" ? "its data is no JSON" : "its data is not in canonical form",
              path: null,
            },
            text,
          };
        }
        if (!isJsonObject(parsed.value))
          return { ok: false, problem: { code: "not-json", message: "its data is no JSON object", path: null }, text };
        data = parsed.value;
        if (writer === null) return { ok: false, problem: unknown(head.schema), text };
      }
      const problem = misplaced(event, writer.schema) ?? (encoding === "avro" ? null : writer.check(data));
      return problem === null ? { ok: true, data, text } : { ok: false, problem, text };
    },

    pack(schema, data) {
      const writer = versionOf(schema);
      if (writer === null) return { data, text: canonicalize(data), problem: unknown(schema) };
      const problem = writer.check(data);
      const normal = problem === null ? writer.normalise(data) : data;
      return { data: normal, text: canonicalize(normal), problem };
    },

    payload(schema, text, avroAllowed) {
      const asJson = { encoding: "json", payload: encoder.encode(text) } as const;
      const writer = avroAllowed ? versionOf(schema) : null;
      if (writer === null || writer.schema.kind !== "avro") return asJson;
      try {
        const payload = writer.encode(JSON.parse(text) as JsonObject);
        return canonicalize(writer.decode(payload)) === text ? { encoding: "avro", payload } : asJson;
      } catch {
        return asJson;
      }
    },

    read(schema, data) {
      const last = newest(schema.subject);
      const writer = versionOf(schema);
      if (last === undefined || writer === null || last.kind !== writer.schema.kind) return { data, version: schema.version };
      if (last.version === schema.version && last.kind === "avro") return { data, version: schema.version };
      return { data: versionOf(last)!.readFrom(writer, data), version: last.version };
    },

    newest,
    subjects: () => store.subjects().map((subject) => newest(subject)!),
    subjectFor(eventType) {
      for (const subject of store.subjects()) {
        const last = newest(subject);
        if (last?.annotations.events.includes(eventType)) return last;
      }
      return undefined;
    },
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
  } catch (error) {
    if (isTributaryError(error)) throw error;
    return false;
  }
}
