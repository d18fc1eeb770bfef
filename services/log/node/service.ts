import { createHash, timingSafeEqual } from "node:crypto";
import { createRequire } from "node:module";
import {
  type Metadata,
  Server,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServiceDefinition,
  type ServiceError,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { messageOf } from "../../core/index.ts";
import { COPY_SERVICE, copier } from "./copy.ts";
import { failure, missingMetadata, streamDeleted, tooLarge, wrongVersion } from "./failures.ts";
import {
  type AppendReq,
  type BatchAppendReq,
  type BatchFailure,
  decodeAppendReq,
  decodeBatchAppendReq,
  decodeDeleteReq,
  decodeReadReq,
  encodeAppendSuccess,
  encodeAppendWrongVersion,
  encodeBatchFailure,
  encodeBatchSuccess,
  encodeClusterInfo,
  encodeDeleteResp,
  encodeSupportedMethods,
  type ProposedEvent,
  type WriteOptions,
} from "./messages.ts";
import { type ReadCall, read, subscribe } from "./reads.ts";
import { appendBytes, MAX_APPEND_BYTES, type Store } from "./store/contract.ts";
import { isDamage } from "./store/database.ts";

/** The version whose answers this node gives. */
const VERSION = "23.10.6";
/** Above the client's own cut of 3 MiB a message, so that an oversized append is refused with a reason, not by the transport. */
const MAX_MESSAGE_BYTES = 32 * 1_048_576;
/** Batches of one connection that have begun and not ended. */
const MAX_OPEN_BATCHES = 10_000;

type Definition = Record<string, ServiceDefinition[string]>;

/** The client's own service definitions, so that names and paths are its; only the bytes are ours. */
function definitions(): { streams: Definition; features: Definition; gossip: Definition } {
  const require = createRequire(import.meta.url);
  const generated = (name: string): Record<string, Definition> =>
    require(`@eventstore/db-client/generated/${name}_grpc_pb.js`) as Record<string, Definition>;
  const raw = { requestSerialize: unused, responseDeserialize: unused, responseSerialize: (bytes: Buffer): Buffer => bytes };
  const withDecoder = (service: Definition, decoders: Record<string, (bytes: Buffer) => unknown>): Definition =>
    Object.fromEntries(
      Object.entries(decoders).map(([method, requestDeserialize]) => [
        method,
        { ...service[method]!, ...raw, requestDeserialize },
      ]),
    );
  return {
    streams: withDecoder(generated("streams").StreamsService!, {
      read: decodeReadReq,
      append: decodeAppendReq,
      delete: decodeDeleteReq,
      tombstone: decodeDeleteReq,
      batchAppend: decodeBatchAppendReq,
    }),
    features: withDecoder(generated("serverfeatures").ServerFeaturesService!, { getSupportedMethods: (bytes) => bytes }),
    gossip: withDecoder(generated("gossip").GossipService!, { read: (bytes) => bytes }),
  };
}
const unused = (): never => {
  throw new Error("the server does not use this");
};

export interface ServiceOptions {
  readonly store: Store;
  readonly maxLagEvents: number;
  readonly now: () => number;
  /** Where clients reach the node, for gossip. */
  readonly address: () => { readonly host: string; readonly port: number };
  readonly log: (event: Record<string, unknown>) => void;
  /** What each call must bring; `null`: anybody on this machine may call. */
  readonly secret: string | null;
}

/** A failure on its way to the client: a gRPC error as it is, a full disk by its name, the rest as unknown. */
function asServiceError(error: unknown, log: ServiceOptions["log"]): Partial<ServiceError> {
  if (typeof (error as ServiceError).code === "number" && "metadata" in (error as object)) return error as ServiceError;
  log({ event: "call-failed", error });
  const full = ((error as { errcode?: number }).errcode ?? 0) === 13;
  if (full) return failure(status.RESOURCE_EXHAUSTED, "the disk is full: nothing of this append was written");
  return isDamage(error)
    ? failure(status.DATA_LOSS, `events.db is damaged: ${messageOf(error)}`)
    : failure(status.UNKNOWN, messageOf(error));
}

/** Calls that do not bring the node's secret are refused. It travels as the connection's name, which the client sends with each call. */
function guard(secret: string | null) {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  const wanted = secret === null ? null : digest(secret);
  const refusal = (): Partial<ServiceError> =>
    failure(status.UNAUTHENTICATED, "this event node answers its own hub only, whose hub.json has the address");
  const isKnown = ({ metadata }: { readonly metadata: Metadata }): boolean =>
    wanted === null || timingSafeEqual(wanted, digest(String(metadata.get("connection-name")[0] ?? "")));
  return {
    streaming:
      <C extends { readonly metadata: Metadata; emit(event: "error", error: unknown): boolean }>(handle: (call: C) => void) =>
      (call: C): void => {
        if (isKnown(call)) handle(call);
        else call.emit("error", refusal());
      },
    answering:
      <C extends { readonly metadata: Metadata }>(handle: (call: C, answer: sendUnaryData<Buffer>) => void) =>
      (call: C, answer: sendUnaryData<Buffer>): void => {
        if (isKnown(call)) handle(call, answer);
        else answer(refusal());
      },
  };
}

export function makeServer({ store, maxLagEvents, now, address, log, secret }: ServiceOptions): Server {
  const server = new Server({
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    "grpc.keepalive_permit_without_calls": 1,
  });
  const { streams, features, gossip } = definitions();
  const { streaming, answering } = guard(secret);
  const id = crypto.randomUUID();

  const onRead = (call: ReadCall): void => {
    const work = call.request.count === null ? subscribe(store, call, maxLagEvents) : read(store, call);
    work.then(
      () => call.end(),
      (error: unknown) => call.emit("error", asServiceError(error, log)),
    );
  };

  const onAppend = (call: ServerReadableStream<AppendReq, Buffer>, answer: sendUnaryData<Buffer>): void => {
    let options: WriteOptions | null = null;
    let bytes = 0;
    const events: ProposedEvent[] = [];
    call.on("data", (request: AppendReq) => {
      if (request.kind === "options") options = request.options;
      else {
        bytes += appendBytes([request.event]);
        if (bytes <= MAX_APPEND_BYTES) events.push(request.event);
      }
    });
    call.on("error", () => {});
    call.on("end", () => {
      const finish = async (): Promise<Buffer> => {
        if (options === null || options.stream === "") throw failure(status.INVALID_ARGUMENT, "BadRequest");
        if (bytes > MAX_APPEND_BYTES) throw tooLarge(MAX_APPEND_BYTES);
        if (events.some(({ type, contentType }) => type === "" || contentType === "")) throw missingMetadata();
        const { stream, expected } = options;
        const outcome = await store.write({ kind: "append", stream, expected, events });
        if (outcome.kind === "deleted") throw streamDeleted(stream);
        return outcome.kind === "written" ? encodeAppendSuccess(outcome) : encodeAppendWrongVersion(outcome);
      };
      finish().then(
        (bytes) => answer(null, bytes),
        (error: unknown) => answer(asServiceError(error, log)),
      );
    });
  };

  const onErase =
    (kind: "delete" | "tombstone") =>
    (call: ServerUnaryCall<WriteOptions, Buffer>, answer: sendUnaryData<Buffer>): void => {
      const { stream, expected } = call.request;
      const finish = async (): Promise<Buffer> => {
        const outcome = await store.write({ kind, stream, expected });
        if (outcome.kind === "deleted") throw streamDeleted(stream);
        if (outcome.kind === "wrong-version") throw wrongVersion(stream, outcome.expected, outcome.actual);
        return encodeDeleteResp(outcome.position);
      };
      finish().then(
        (bytes) => answer(null, bytes),
        (error: unknown) => answer(asServiceError(error, log)),
      );
    };

  interface OpenBatch {
    readonly options: NonNullable<BatchAppendReq["options"]>;
    readonly events: ProposedEvent[];
    bytes: number;
  }

  const onBatchAppend = (call: ServerDuplexStream<BatchAppendReq, Buffer>): void => {
    const open = new Map<string, OpenBatch>();
    let writing = 0;
    let ended = false;
    const endWhenIdle = (): void => {
      if (ended && writing === 0) call.end();
    };
    const commit = async (correlationId: string, { options, events, bytes }: OpenBatch): Promise<void> => {
      const about = { correlationId, identifier: options.identifier };
      const fail = (failed: BatchFailure): boolean => call.write(encodeBatchFailure(about, failed));
      const { stream, expected } = options;
      if (now() > options.deadlineMs) fail({ kind: "Timeout" });
      else if (stream === "") fail({ kind: "BadRequest", message: "Stream name is empty." });
      else if (bytes > MAX_APPEND_BYTES) fail({ kind: "MaximumAppendSizeExceeded", bytes: MAX_APPEND_BYTES });
      else {
        try {
          const outcome = await store.write({ kind: "append", stream, expected, events });
          if (outcome.kind === "written") call.write(encodeBatchSuccess(about, outcome));
          else if (outcome.kind === "deleted") fail({ kind: "StreamDeleted", stream });
          else fail({ kind: "WrongExpectedVersion", wrong: outcome });
        } catch (error) {
          const { details } = asServiceError(error, log);
          fail({ kind: "Unknown", message: details ?? "failed" });
        }
      }
    };
    call.on("data", ({ correlationId, options, events, isFinal }: BatchAppendReq) => {
      let batch = open.get(correlationId);
      if (batch === undefined) {
        if (options === null || open.size >= MAX_OPEN_BATCHES) return;
        batch = { options, events: [], bytes: 0 };
        open.set(correlationId, batch);
      }
      batch.bytes += appendBytes(events);
      // Beyond the limit the rest is only counted: it will be refused whole.
      if (batch.bytes <= MAX_APPEND_BYTES) batch.events.push(...events);
      if (!isFinal) return;
      open.delete(correlationId);
      writing++;
      void commit(correlationId, batch).finally(() => {
        writing--;
        endWhenIdle();
      });
    });
    call.on("error", () => {});
    call.on("end", () => {
      ended = true;
      endWhenIdle();
    });
  };

  server.addService(
    streams as ServiceDefinition,
    {
      read: streaming(onRead),
      append: answering(onAppend),
      delete: answering(onErase("delete")),
      tombstone: answering(onErase("tombstone")),
      batchAppend: streaming(onBatchAppend),
    } as never,
  );
  server.addService(
    features as ServiceDefinition,
    {
      getSupportedMethods: (_: unknown, answer: sendUnaryData<Buffer>) => answer(null, encodeSupportedMethods(VERSION)),
    } as never,
  );
  server.addService(
    gossip as ServiceDefinition,
    {
      read: (_: unknown, answer: sendUnaryData<Buffer>) =>
        answer(null, encodeClusterInfo(id, address().host, address().port, now())),
    } as never,
  );
  server.addService(COPY_SERVICE as ServiceDefinition, { copy: streaming(copier(store, log)) } as never);
  return server;
}
