import {
  dataOutOfRange,
  envelopeOutOfRange,
  isJsonObject,
  type JsonObject,
  messageOf,
  type PackedEvent,
  parseCanonical,
  RESOLVED,
  type SchemaRef,
} from "../../core/index.ts";
import type { Decoded } from "../avro/decode.ts";
import { utf8Text } from "../bytes.ts";
import type { Compiled } from "../compiled.ts";
import { decidedProblem } from "../decided.ts";
import type { Problem } from "../words.ts";
import { checkField, misplaced, outOfRange, type Shelf, unknown } from "./shelf.ts";

export type Verdict =
  | { readonly ok: true; readonly data: JsonObject; readonly text: string }
  /** `text`: what the event's hash covers; `null` for Avro bytes that cannot be decoded. */
  | { readonly ok: false; readonly problem: Problem; readonly text: string | null };

/** What the hub's door asks. */
export interface HubGate {
  /** The hub's door: decodes with the writer's version and validates. Never throws for what an event holds. */
  admit(event: PackedEvent): Verdict;
  /** Makes sure that schemas which others have registered are known here. */
  ensure(schemas: Iterable<SchemaRef>): Promise<void>;
  knows(schema: SchemaRef): boolean;
  /** What an Avro sender may use: `subject@version` → fingerprint. */
  avroFingerprints(): Record<string, string>;
}

/** `refresh`: takes in what others have registered for a subject. */
export function hubGate(shelf: Shelf, refresh?: (subject: string) => Promise<void>): HubGate {
  const { store, find, compiledOf } = shelf;
  return {
    admit({ head, fingerprint, encoding, payload }) {
      const writer = compiledOf(head.schema);
      const verdict = (encoding === "avro" ? admitAvro : admitJson)(shelf, head, payload, writer);
      // The envelope is checked first: no schema and no correction of the data can mend it.
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

    async ensure(schemas) {
      if (refresh === undefined) return;
      const subjects = new Set<string>();
      for (const ref of schemas) if (find(ref) === undefined) subjects.add(ref.subject);
      await Promise.all([...subjects].map(refresh));
    },
    knows: (ref) => find(ref) !== undefined,
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

const misdecided = (shelf: Shelf, { type, entity }: PackedEvent["head"], data: JsonObject): Problem | null => {
  const values = data.values ?? null;
  if (type !== RESOLVED || !isJsonObject(values)) return null;
  return decidedProblem((about, name, value) => checkField(shelf, about, name, value), entity.type, values);
};

const admitJson = (shelf: Shelf, head: PackedEvent["head"], payload: Uint8Array, writer: Compiled | string): Verdict => {
  const text = utf8Text(payload);
  const parsed = parseCanonical(text);
  const no = (code: Problem["code"], message: string): Verdict => ({ ok: false, problem: { code, message, path: null }, text });
  if (parsed === null)
    return isJson(text) ? no("not-canonical", "its data is not in canonical form") : no("not-json", "its data is not JSON");
  if (!isJsonObject(parsed.value)) return no("not-json", "its data is not a JSON object");
  if (typeof writer === "string") return { ok: false, problem: unknown(writer), text };
  const problem =
    misplaced(head.type, head.entity.type, writer.schema) ??
    writer.check(parsed.value) ??
    misdecided(shelf, head, parsed.value) ??
    outOfRange(dataOutOfRange(parsed.value, text));
  return problem === null ? { ok: true, data: parsed.value, text } : { ok: false, problem, text };
};

const admitAvro = (_shelf: Shelf, head: PackedEvent["head"], payload: Uint8Array, writer: Compiled | string): Verdict => {
  if (typeof writer === "string") return { ok: false, problem: unknown(writer), text: null };
  if (writer.schema.kind !== "avro")
    return { ok: false, problem: unknown(`${head.schema.subject} is not an Avro schema`), text: null };
  let decoded: Decoded;
  try {
    decoded = writer.decode(payload);
  } catch (error) {
    return {
      ok: false,
      problem: {
        code: "undecodable",
        message: `its data is not a valid ${head.schema.subject}: ${messageOf(error)}`,
        path: null,
      },
      text: null,
    };
  }
  const problem =
    misplaced(head.type, head.entity.type, writer.schema) ??
    (decoded.ok ? outOfRange(dataOutOfRange(decoded.data, decoded.text)) : null);
  return problem === null ? decoded : { ok: false, problem, text: decoded.text };
};

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
