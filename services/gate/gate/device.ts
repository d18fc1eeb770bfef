import { canonicalize, dataOutOfRange, type JsonObject, type PackedEvent, type SchemaRef } from "../../core/index.ts";
import { utf8Bytes } from "../bytes.ts";
import { shortFingerprint } from "../schema.ts";
import type { Problem } from "../words.ts";
import { misplaced, outOfRange, type Shelf, unknown } from "./shelf.ts";

/** What a device asks when it writes and sends events. */
export interface DeviceGate {
  /** The device's side: the data as it will be hashed and sent, its canonical text, and what is wrong with it. */
  pack(
    schema: SchemaRef,
    data: JsonObject,
  ): { readonly data: JsonObject; readonly text: string; readonly problem: Problem | null };
  /** What keeps a schema from carrying events of a type about a kind of entity; `null`: nothing, or the schema is not known. */
  misplaced(schema: SchemaRef, type: string, entity: string): Problem | null;
  /** The travelling form of canonical text: Avro where allowed and exact, else the text itself. */
  payload(schema: SchemaRef, text: string, avroAllowed: boolean): Pick<PackedEvent, "encoding" | "payload">;
  /** The canonical text of data that came as Avro, as `payload` writes it. Throws `RangeError` for an unknown schema, and for bytes that it does not write. */
  unpack(schema: SchemaRef, payload: Uint8Array): string;
  /** The short fingerprint of a schema, which tells it from other schemas of its name; empty for an unknown schema. */
  fingerprint(schema: SchemaRef): string;
}

export function deviceGate({ find, compiledOf }: Shelf): DeviceGate {
  return {
    pack(schema, data) {
      const writer = compiledOf(schema);
      if (typeof writer === "string") return { data, text: canonicalize(data), problem: unknown(writer) };
      const problem = writer.check(data);
      const normal = problem === null ? writer.normalise(data) : data;
      const text = canonicalize(normal);
      return { data: normal, text, problem: problem ?? outOfRange(dataOutOfRange(normal, text)) };
    },

    misplaced(ref, type, entity) {
      const schema = find(ref);
      return schema === undefined ? null : misplaced(type, entity, schema);
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

    unpack(ref, payload) {
      const writer = compiledOf(ref);
      if (typeof writer === "string") throw new RangeError(writer);
      if (writer.schema.kind !== "avro") throw new RangeError(`${ref.subject} version ${ref.version} is not an Avro schema`);
      return writer.decode(payload).text;
    },

    fingerprint(ref) {
      const schema = find(ref);
      return schema === undefined ? "" : shortFingerprint(schema);
    },
  };
}
