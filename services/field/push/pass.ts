import { randomUUID } from "node:crypto";
import type { Hash, Hello, HelloRequest, QuarantineNote, Seq, TributaryError } from "../../core/index.ts";
import type { Gate } from "../../gate/index.ts";
import type { Cutter } from "../frames.ts";
import type { AsideNote } from "../move.ts";
import type { Outbox } from "../outbox.ts";
import type { Pace } from "../pace.ts";
import type { EventReader } from "../reading.ts";
import type { OriginRow } from "../rows.ts";
import type { FieldSchemas } from "../schemas.ts";
import type { Store } from "../store.ts";
import { away, strange, type Transport } from "../way.ts";

export interface PushOptions {
  readonly batchEvents?: number;
  /** Send everything once more, including what the hub has confirmed and what a hub has refused. This is harmless; it is for users who have doubts. */
  readonly again?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: SyncProgress) => void;
}

export type SyncProgress =
  | { readonly kind: "synced"; readonly done: number; readonly total: number }
  /** The hub's broker has taken events that its log cannot take yet. */
  | { readonly kind: "queued"; readonly events: number; readonly because: string }
  | { readonly kind: "waiting"; readonly tries: number; readonly pauseMs: number; readonly because: string }
  /** What has come down so far, and how many of the buckets that this device holds are up to date. */
  | {
      readonly kind: "pulled";
      readonly events: number;
      readonly entities: number;
      readonly current: number;
      readonly buckets: number;
    };

export interface PushDeps {
  readonly store: Store;
  readonly gate: Gate;
  readonly outbox: Outbox;
  /** `null`: the app keeps its schemas itself. */
  readonly schemas: FieldSchemas | null;
  readonly now: () => number;
}

/** A quarantined event that the hub's people have turned down. `reason`: why, as far as the hub says. */
export interface RejectedNote {
  readonly origin: string;
  readonly seq: Seq;
  readonly reason: string | null;
}

/** What a sync has done so far, over all its tries. */
export interface Tally {
  confirmed: number;
  restoredBehind: number;
  moved: number;
  schemasLearnt: number;
  schemasProposed: number;
  batches: number;
  sentBytes: number;
  receivedBytes: number;
  quarantined: QuarantineNote[];
  released: number;
  rejected: RejectedNote[];
  setAside: AsideNote[];
  clockOffsetMs: number | null;
  renamedTo: string | null;
  /** Events that the broker took but the log has not; and, after a pass that could only queue, how many wait and why. */
  queued: number;
  waiting: { readonly events: number; readonly because: TributaryError | null } | null;
}

export const emptyTally = (): Tally => ({
  confirmed: 0,
  restoredBehind: 0,
  moved: 0,
  schemasLearnt: 0,
  schemasProposed: 0,
  batches: 0,
  sentBytes: 0,
  receivedBytes: 0,
  quarantined: [],
  released: 0,
  rejected: [],
  setAside: [],
  clockOffsetMs: null,
  renamedTo: null,
  queued: 0,
  waiting: null,
});

/** One pass over an open link, and all that its parts share. */
export interface Pass {
  readonly store: Store;
  readonly transport: Transport;
  readonly options: PushOptions;
  readonly tally: Tally;
  readonly rows: EventReader;
  readonly cutter: Cutter;
  readonly pace: Pace;
  readonly now: () => number;
  /** The Avro schemas that are identical on device and hub: only those travel as Avro. */
  avro: Readonly<Record<string, string>>;
  /** The largest frame that is known to get through. */
  maxBytes: number;
  /** Hashes for which the hub's word counts more than a damaged row. */
  readonly proven: Map<string, Hash>;
  origin(id: number): OriginRow;
}

type Answer =
  | { readonly kind: "hello"; readonly hello: Hello; readonly isOurs: boolean }
  | { readonly kind: "away"; readonly because: TributaryError | null };

/** Asks the hub. `isOurs`: the answer repeats what only this question said, so it does not belong to an earlier one. */
export async function ask({ transport, pace }: Pass, request: HelloRequest): Promise<Answer> {
  const nonce = randomUUID();
  const askedMs = performance.now();
  const outcome = await transport.hello({ ...request, nonce });
  if (outcome.kind === "away") return outcome;
  pace.answered(performance.now() - askedMs);
  const { hello } = outcome;
  if (hello.receipt.origin !== request.origin || (hello.nonce !== undefined && hello.nonce !== nonce)) throw strange("the hello");
  return { kind: "hello", hello, isOurs: hello.nonce === nonce };
}

/** The same in the middle of a pass: the hub answered a moment ago, so it is expected to answer again. Throws if it does not. */
export async function askAgain(pass: Pass, request: HelloRequest): Promise<Extract<Answer, { kind: "hello" }>> {
  const answer = await ask(pass, request);
  if (answer.kind === "hello") return answer;
  throw away("the hub cannot say where its log stands", answer.because ?? new Error("it does not answer"));
}

export const sinceOf = ({ syncedThrough }: OriginRow): Seq | null => (syncedThrough < 0 ? null : (syncedThrough as Seq));
