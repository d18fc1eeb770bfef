import {
  AckPolicy,
  type ConsumerConfig,
  connect,
  credsAuthenticator,
  DeliverPolicy,
  DiscardPolicy,
  type JetStreamManager,
  type NatsConnection,
  NatsError,
  nanos,
  nkeyAuthenticator,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "nats";
import { messageOf, type NatsSettings, natsConnect, natsRefusal, SUBJECTS, silenceHint, TributaryError } from "../core/index.ts";

export const STREAM = "INGRESS";
export const DEAD_STREAM = "DEAD";
export const CONSUMER = "ingress";
/** A batch that its consumer does not answer for this long goes to another: about a crash and a restart. */
export const ACK_WAIT_MS = 5_000;
/** Batches handed out and not yet answered, over all ingress processes. */
export const MAX_ACK_PENDING = 256;
/** What the broker holds for the hub at most; beyond, it refuses, and the field keeps its events. */
const MAX_STREAM_BYTES = 1024 * 1024 * 1024;

/** How a broker keeps the hub's streams. What is left out stays as it is; a new stream gets the broker's defaults. */
export interface StreamSettings {
  /** Copies of each stream, one a server: 3 in a cluster, so that a server may be lost. */
  readonly replicas?: number;
  readonly ingressBytes?: number;
  readonly deadBytes?: number;
  /** Which servers: those of this cluster, those that have all these tags. */
  readonly cluster?: string;
  readonly tags?: readonly string[];
}

/** Where the broker answers the hub. No sender can have an answer sent there: `mayAnswerAt` lets no such subject pass. */
const HUB_INBOX = "_INBOX_HUB";

/**
 * How the hub asks for batches: the broker gives a sign of life each HEARTBEAT_MS, and two that fail to come make the hub ask again. With the client's own 15 s a
 * dead stream leader cost 27–49 s. A request stands for PULL_MS; asking again costs two small messages.
 */
export const HEARTBEAT_MS = 1_000;
export const PULL_MS = 10_000;

/**
 * Connects to the broker. Throws `login-refused` and `tls-refused` where the broker, or this machine, will not have it; `backend-unreachable` when there is none.
 * A login that is refused later, while a broker starts anew with other logins, is tried again.
 */
export async function connectBroker(url: string, name: string, settings: NatsSettings = {}): Promise<NatsConnection> {
  const options = natsConnect(url, settings, { creds: credsAuthenticator, nkey: nkeyAuthenticator });
  try {
    return await connect({
      ...options,
      name,
      inboxPrefix: HUB_INBOX,
      maxReconnectAttempts: -1,
      ignoreAuthErrorAbort: true,
      reconnectTimeWait: 250,
      reconnectJitter: 250,
      timeout: 5_000,
    });
  } catch (error) {
    throw (
      natsRefusal("NATS", error) ??
      new TributaryError(
        "backend-unreachable",
        `NATS does not answer: ${messageOf(error)}`,
        `Start it, or check TRIBUTARY_NATS_URL.${silenceHint(options)}`,
        {
          cause: error,
        },
      )
    );
  }
}

/** Makes the streams and the durable consumer where they are missing; brings their limits up to date. */
export async function prepareBroker(nc: NatsConnection, settings: StreamSettings = {}): Promise<void> {
  try {
    await prepare(await nc.jetstreamManager(), settings);
  } catch (error) {
    throw natsRefusal("NATS", error) ?? cannotKeep(error, settings);
  }
}

function cannotKeep(error: unknown, { replicas }: StreamSettings): unknown {
  // 10005 no suitable peers, 10074 replicas without a cluster, 10023 and 10047 too little storage.
  const code = error instanceof NatsError ? error.api_error?.err_code : undefined;
  if (code === undefined || ![10_005, 10_023, 10_047, 10_074].includes(code)) return error;
  return new TributaryError(
    "backend-failed",
    `NATS cannot keep the hub's streams${replicas === undefined ? "" : ` in ${replicas} copies`}: ${messageOf(error)}`,
    "Check TRIBUTARY_NATS_REPLICAS, TRIBUTARY_NATS_MAX_BYTES and TRIBUTARY_NATS_PLACEMENT_CLUSTER and _TAGS against the cluster's servers and their storage.",
    { cause: error },
  );
}

async function prepare(jsm: JetStreamManager, settings: StreamSettings): Promise<void> {
  const { replicas, ingressBytes = MAX_STREAM_BYTES, deadBytes, cluster, tags } = settings;
  const placed = {
    ...(replicas === undefined ? {} : { num_replicas: replicas }),
    ...(cluster === undefined && tags === undefined ? {} : { placement: { cluster: cluster ?? "", tags: [...(tags ?? [])] } }),
  };
  await prepareStream(jsm, {
    name: STREAM,
    subjects: [`${SUBJECTS.ingress}.>`],
    retention: RetentionPolicy.Workqueue,
    storage: StorageType.File,
    discard: DiscardPolicy.New,
    max_bytes: ingressBytes,
    ...placed,
  });
  await prepareStream(jsm, {
    name: DEAD_STREAM,
    subjects: [`${SUBJECTS.dead}.>`],
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    ...(deadBytes === undefined ? {} : { max_bytes: deadBytes }),
    ...placed,
  });
  const consumer: Partial<ConsumerConfig> = {
    durable_name: CONSUMER,
    ack_policy: AckPolicy.Explicit,
    ack_wait: nanos(ACK_WAIT_MS),
    deliver_policy: DeliverPolicy.All,
    max_ack_pending: MAX_ACK_PENDING,
    max_deliver: -1,
  };
  try {
    await jsm.consumers.add(STREAM, consumer);
  } catch {
    await jsm.consumers.update(STREAM, CONSUMER, consumer);
  }
}

async function prepareStream(jsm: JetStreamManager, config: Partial<StreamConfig> & { name: string }): Promise<void> {
  try {
    await jsm.streams.info(config.name);
    await jsm.streams.update(config.name, config);
  } catch (error) {
    if (!(error instanceof NatsError) || error.api_error?.code !== 404) throw error;
    await jsm.streams.add(config);
  }
}
