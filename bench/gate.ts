/** The gate alone, beside the bare libraries on the same bytes: no server, one process. */

import { Ajv2020 } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import avsc from "avsc";
import { SCHEMAS_DIR } from "../services/cli/program.ts";
import { formatHlc, type OriginId, type PackedEvent, type Seq } from "../services/core/index.ts";
import { createGate } from "../services/gate/index.ts";
import { loadSchemas } from "../services/gate/node.ts";
import { eventsOf } from "./workload.ts";

const COUNT = 20_000;
/** Each measurement goes over the events so many times; the two sides take turns, so that both meet the same machine. */
const ROUNDS = 8;
/** Rounds before the measurement, until the engine has optimised both sides as far as it can. */
const WARM_UP = 4;

/** Calls `note` with the rates of gate and bare library, for Avro and JSON Schema. */
export function benchGate(note: (name: string, value: number) => void): void {
  const store = loadSchemas(SCHEMAS_DIR);
  const gate = createGate(store);
  const events = eventsOf("gate", COUNT * 4, 7);
  const packed = (type: string, encoding: "avro" | "json"): PackedEvent[] =>
    events
      .filter((event) => event.type === type)
      .map((event, seq): PackedEvent => {
        const schema = gate.subjectFor(event.type)!;
        const ref = { subject: schema.subject, version: schema.version };
        const { text } = gate.pack(ref, event.data);
        const head = {
          type: event.type,
          origin: "bench.gate.t1.x" as OriginId,
          seq: seq as Seq,
          entity: event.entity,
          schema: ref,
          actor: event.actor,
          org: "bench",
          occurredAt: "2026-03-01T00:00:00.000Z",
          hlc: formatHlc({ wallMs: seq, counter: 0 }),
          basis: {},
        };
        return { head, fingerprint: gate.fingerprint(ref), ...gate.payload(ref, text, encoding === "avro") };
      });

  const distributions = packed("distribution.recorded", "avro");
  const type = avsc.Type.forSchema(
    JSON.parse(store.versions("distribution").at(-1)!.text) as avsc.Schema,
    {
      omitRecordMethods: true,
      wrapUnions: "never",
    } as unknown as Parameters<typeof avsc.Type.forSchema>[1],
  );
  sideBySide(
    note,
    distributions,
    ["gate-avro", (event) => gate.admit(event).ok],
    ["bare-avsc", ({ payload }) => type.fromBuffer(payload as Buffer) !== null],
  );

  const people = packed("beneficiary.registered", "json");
  const ajv = new Ajv2020({ strict: false });
  formats.default(ajv);
  const validate = ajv.compile(JSON.parse(store.versions("beneficiary").at(-1)!.text) as object);
  const decoder = new TextDecoder();
  sideBySide(
    note,
    people,
    ["gate-json", (event) => gate.admit(event).ok],
    ["bare-ajv", ({ payload }) => validate(JSON.parse(decoder.decode(payload)))],
  );
}

type Side = readonly [name: string, work: (event: PackedEvent) => boolean];

function sideBySide(
  note: (name: string, value: number) => void,
  given: readonly PackedEvent[],
  ...sides: readonly [Side, Side]
): void {
  // Bytes as they come off the wire: Buffers, which avsc needs.
  const events = given.map((event) => ({ ...event, payload: Buffer.from(event.payload) }));
  const spentMs = new Map<string, number>();
  for (let round = 0; round < WARM_UP + ROUNDS; round++) {
    for (const [name, work] of round % 2 === 0 ? sides : sides.toReversed()) {
      const startedMs = performance.now();
      let fitting = 0;
      for (const event of events) if (work(event)) fitting++;
      if (fitting !== events.length) throw new Error(`${name}: ${events.length - fitting} of ${events.length} events do not fit`);
      if (round >= WARM_UP) spentMs.set(name, (spentMs.get(name) ?? 0) + performance.now() - startedMs);
    }
  }
  for (const [name, ms] of spentMs) note(name, ((events.length * ROUNDS) / ms) * 1000);
}
