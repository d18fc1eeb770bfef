import type { ServerDuplexStream, ServerReadableStream, ServerUnaryCall, sendUnaryData } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import { asServiceError, failure, missingMetadata, type NodeLog, streamDeleted, tooLarge, wrongVersion } from "./failures.ts";
import {
  type AppendReq,
  type BatchAppendReq,
  type BatchFailure,
  encodeAppendSuccess,
  encodeAppendWrongVersion,
  encodeBatchFailure,
  encodeBatchSuccess,
  encodeDeleteResp,
  type ProposedEvent,
  type WriteOptions,
} from "./messages.ts";
import { appendBytes, MAX_APPEND_BYTES, type Store } from "./store/contract.ts";

/** How many batches of one connection may have begun and not ended. */
const MAX_OPEN_BATCHES = 10_000;

export interface WriteDeps {
  readonly store: Store;
  readonly now: () => number;
  readonly log: NodeLog;
}

/** Answers an append that is a call of its own: options, then events. */
export const onAppend =
  ({ store, log }: WriteDeps) =>
  (call: ServerReadableStream<AppendReq, Buffer>, answer: sendUnaryData<Buffer>): void => {
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

/** Answers a call to delete a stream, or to put a tombstone on it for good. */
export const onErase =
  ({ store, log }: WriteDeps, kind: "delete" | "tombstone") =>
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

/** Answers appends over one lasting stream: each is a batch of events, and its answer has its correlation id. */
export const onBatchAppend =
  (deps: WriteDeps) =>
  (call: ServerDuplexStream<BatchAppendReq, Buffer>): void => {
    const open = new Map<string, OpenBatch>();
    let writing = 0;
    let ended = false;
    const endWhenIdle = (): void => {
      if (ended && writing === 0) call.end();
    };
    call.on("data", ({ correlationId, options, events, isFinal }: BatchAppendReq) => {
      let batch = open.get(correlationId);
      if (batch === undefined) {
        if (options === null || open.size >= MAX_OPEN_BATCHES) return;
        batch = { options, events: [], bytes: 0 };
        open.set(correlationId, batch);
      }
      batch.bytes += appendBytes(events);
      // Beyond the limit the rest is only counted: the whole batch will be refused.
      if (batch.bytes <= MAX_APPEND_BYTES) batch.events.push(...events);
      if (!isFinal) return;
      open.delete(correlationId);
      writing++;
      void commit(deps, call, correlationId, batch).finally(() => {
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

/** Writes a complete batch, and answers. */
async function commit(
  { store, now, log }: WriteDeps,
  call: ServerDuplexStream<BatchAppendReq, Buffer>,
  correlationId: string,
  { options, events, bytes }: OpenBatch,
): Promise<void> {
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
}
