import {
  AckPolicy,
  type ConsumerConfig,
  connect,
  DeliverPolicy,
  DiscardPolicy,
  type JetStreamManager,
  type NatsConnection,
  NatsError,
  nanos,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "nats";
import { messageOf, SUBJECTS, TributaryError } from "../core/index.ts";

export const STREAM = "INGRESS";
export const DEAD_STREAM = "DEAD";
export const CONSUMER = "ingress";
/** A batch that its consumer does not answer for this long goes to another: about a crash and a restart. */
export const ACK_WAIT_MS = 5_000;
/** Batches handed out and not yet answered, over all ingress processes. */
export const MAX_ACK_PENDING = 256;
/** What the broker holds for the hub at most; beyond, it refuses, and the field keeps its events. */
const MAX_STREAM_BYTES = 1024 * 1024 * 1024;

/** Connects to the broker; throws `backend-unreachable` when there is none. */
export async function connectBroker(url: string, name: string): Promise<NatsConnection> {
  try {
    return await connect({
      servers: url,
      name,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 250,
      reconnectJitter: 250,
      timeout: 5_000,
    });
  } catch (error) {
    throw new TributaryError(
      "backend-unreachable",
      `NATS does not answer: ${messageOf(error)}`,
      "Start it, or check TRIBUTARY_NATS_URL.",
      {
        cause: error,
      },
    );
  }
}

/** Makes the streams and the durable consumer where they are missing; brings their limits up to date. */
export async function prepareBroker(nc: NatsConnection): Promise<void> {
  const jsm = await nc.jetstreamManager();
  await prepareStream(jsm, {
    name: STREAM,
    subjects: [`${SUBJECTS.ingress}.>`],
    retention: RetentionPolicy.Workqueue,
    storage: StorageType.File,
    discard: DiscardPolicy.New,
    max_bytes: MAX_STREAM_BYTES,
  });
  await prepareStream(jsm, {
    name: DEAD_STREAM,
    subjects: [`${SUBJECTS.dead}.>`],
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
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
