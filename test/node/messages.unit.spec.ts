import { createRequire } from "node:module";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { positionFromNumber } from "../../services/core/index.ts";
import { decodeBatchAppendReq, encodeEvent } from "../../services/log/node/messages.ts";

/** The client's generated classes, as far as these tests use them. */
interface Message {
  [method: string]: (...args: unknown[]) => Message & string & Uint8Array & Map<string, string> & Message[];
}
const require = createRequire(import.meta.url);
const streams = require("@eventstore/db-client/generated/streams_pb.js") as Record<string, Record<string, new () => Message>> & {
  ReadResp: { deserializeBinary(bytes: Uint8Array): Message };
};
const shared = require("@eventstore/db-client/generated/shared_pb.js") as Record<string, new () => Message>;

const proposed = fc.record({
  id: fc.uuid(),
  type: fc.string({ minLength: 1, unit: "grapheme" }).filter((s) => s.isWellFormed()),
  contentType: fc.constantFrom("application/json", "application/octet-stream"),
  data: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  metadata: fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
});

describe("the node's own encoding", () => {
  it("writes events that google-protobuf reads back unchanged", () => {
    fc.assert(
      fc.property(proposed, fc.nat(), fc.nat(), fc.nat({ max: 4e12 }), (event, revision, position, createdMs) => {
        const bytes = encodeEvent(event, { stream: "ströme-1", revision, position: positionFromNumber(position), createdMs });
        const recorded = streams.ReadResp.deserializeBinary(bytes).getEvent!().getEvent!();
        expect(recorded.getId!().getString!()).toBe(event.id);
        expect(Buffer.from(recorded.getStreamIdentifier!().getStreamName_asU8!()).toString()).toBe("ströme-1");
        expect(recorded.getStreamRevision!()).toBe(String(revision));
        expect(recorded.getCommitPosition!()).toBe(String(position));
        expect(recorded.getMetadataMap!().get("type")).toBe(event.type);
        expect(recorded.getMetadataMap!().get("created")).toBe(String(BigInt(createdMs) * 10_000n));
        expect(Buffer.from(recorded.getData_asU8!())).toEqual(event.data);
        expect(Buffer.from(recorded.getCustomMetadata_asU8!())).toEqual(event.metadata);
      }),
    );
  });

  it("reads batches that google-protobuf wrote, structured ids too", () => {
    fc.assert(
      fc.property(
        fc.array(proposed, { maxLength: 5 }),
        fc.bigInt({ min: 0n, max: 2n ** 53n - 1n }),
        fc.boolean(),
        (events, revision, isFinal) => {
          const request = new (streams.BatchAppendReq as unknown as new () => Message)();
          const id = new shared.UUID!();
          const structured = new (shared.UUID as unknown as { Structured: new () => Message }).Structured();
          structured.setMostSignificantBits!("-8526495107234113920");
          structured.setLeastSignificantBits!("-9079256848778919935");
          id.setStructured!(structured);
          request.setCorrelationId!(id);
          const options = new (streams.BatchAppendReq!.Options as unknown as new () => Message)();
          const identifier = new shared.StreamIdentifier!();
          identifier.setStreamName!(Buffer.from("s/ü").toString("base64"));
          options.setStreamIdentifier!(identifier);
          options.setStreamPosition!(revision.toString());
          request.setOptions!(options);
          request.setIsFinal!(isFinal);
          for (const event of events) {
            const message = new (streams.BatchAppendReq!.ProposedMessage as unknown as new () => Message)();
            const eventId = new shared.UUID!();
            eventId.setString!(event.id);
            message.setId!(eventId);
            message.getMetadataMap!().set("type", event.type);
            message.getMetadataMap!().set("content-type", event.contentType);
            message.setData!(event.data);
            message.setCustomMetadata!(event.metadata);
            request.addProposedMessages!(message);
          }
          const decoded = decodeBatchAppendReq(Buffer.from(request.serializeBinary!()));
          const bits = (text: string): string => BigInt.asUintN(64, BigInt(text)).toString(16).padStart(16, "0");
          expect(decoded.correlationId.replaceAll("-", "")).toBe(bits("-8526495107234113920") + bits("-9079256848778919935"));
          expect(decoded.options).toMatchObject({ stream: "s/ü", expected: { kind: "revision", revision: Number(revision) } });
          expect(decoded.isFinal).toBe(isFinal);
          expect(decoded.events).toEqual(events);
        },
      ),
    );
  });
});
