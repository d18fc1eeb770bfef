import { createHash, timingSafeEqual } from "node:crypto";
import { createRequire } from "node:module";
import { type Metadata, Server, type ServiceDefinition, type ServiceError, type sendUnaryData, status } from "@grpc/grpc-js";
import { COPY_SERVICE, copier } from "./copy.ts";
import { asServiceError, failure, type NodeLog } from "./failures.ts";
import {
  decodeAppendReq,
  decodeBatchAppendReq,
  decodeDeleteReq,
  decodeReadReq,
  encodeClusterInfo,
  encodeSupportedMethods,
} from "./messages.ts";
import { type ReadCall, read, subscribe } from "./reads.ts";
import type { Store } from "./store/contract.ts";
import { onAppend, onBatchAppend, onErase } from "./writes.ts";

/** The version of EventStoreDB whose answers this node gives. */
const VERSION = "23.10.6";
/** More than the 3 MiB at which the client cuts its messages, so that an append that is too large is refused with a reason, and not by the transport. */
const MAX_MESSAGE_BYTES = 32 * 1_048_576;

type Definition = Record<string, ServiceDefinition[string]>;

/** The client's own service definitions, which have its names and paths; only the bytes are read and written by our code. */
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
  /** Where clients reach the node: the answer to gossip. */
  readonly address: () => { readonly host: string; readonly port: number };
  readonly log: NodeLog;
  /** What each call must bring; `null`: anybody on this machine may call. */
  readonly secret: string | null;
}

/** Refuses calls that do not bring the node's secret. The secret travels as the connection's name, which the client sends with each call. */
function guard(secret: string | null) {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  const wanted = secret === null ? null : digest(secret);
  const refusal = (): Partial<ServiceError> =>
    failure(status.UNAUTHENTICATED, "this event node answers only its own hub: hub.json there has the address");
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

/** The gRPC server over a store; it is not listening yet. */
export function makeServer({ store, maxLagEvents, now, address, log, secret }: ServiceOptions): Server {
  const server = new Server({
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    "grpc.keepalive_permit_without_calls": 1,
  });
  const { streams, features, gossip } = definitions();
  const { streaming, answering } = guard(secret);
  const id = crypto.randomUUID();
  const writing = { store, now, log };

  const onRead = (call: ReadCall): void => {
    const work = call.request.count === null ? subscribe(store, call, maxLagEvents) : read(store, call);
    work.then(
      () => call.end(),
      (error: unknown) => call.emit("error", asServiceError(error, log)),
    );
  };

  server.addService(
    streams as ServiceDefinition,
    {
      read: streaming(onRead),
      append: answering(onAppend(writing)),
      delete: answering(onErase(writing, "delete")),
      tombstone: answering(onErase(writing, "tombstone")),
      batchAppend: streaming(onBatchAppend(writing)),
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
