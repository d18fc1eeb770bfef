import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  formatHlc,
  type JsonObject,
  type OriginId,
  type PackedEvent,
  type SchemaRef,
  type Seq,
} from "../../services/core/index.ts";
import { createGate, type Gate } from "../../services/gate/index.ts";
import { loadSchemas } from "../../services/gate/node.ts";
import { tempDir } from "./temp.ts";

/** An event as it comes to the gate: `payload` as JSON text, or as Avro's bytes. */
export const packed = (
  schema: SchemaRef,
  payload: string | Uint8Array,
  over: { type?: string; entity?: string } = {},
): PackedEvent => ({
  head: {
    type: over.type ?? "beneficiary.registered",
    origin: "relief.juba.t1.a" as OriginId,
    seq: 0 as Seq,
    entity: { type: over.entity ?? "beneficiary", id: "X" },
    schema,
    actor: "a",
    org: "relief",
    occurredAt: "2026-01-01T00:00:00.000Z",
    hlc: formatHlc({ wallMs: 1, counter: 0 }),
    basis: {},
  },
  encoding: typeof payload === "string" ? "json" : "avro",
  payload: typeof payload === "string" ? new TextEncoder().encode(payload) : payload,
});

/** A gate over the versions of one subject, `thing`; those with fields are Avro. */
export function gateOf(...schemas: readonly JsonObject[]): Gate {
  const dir = tempDir();
  mkdirSync(join(dir, "thing"));
  const tributary = { entity: "thing", events: ["thing.noted"] };
  for (const [i, schema] of schemas.entries()) {
    const name = `v${i + 1}.${schema.fields === undefined ? "schema.json" : "avsc"}`;
    writeFileSync(join(dir, "thing", name), JSON.stringify({ tributary, ...schema }));
  }
  return createGate(loadSchemas(dir));
}
