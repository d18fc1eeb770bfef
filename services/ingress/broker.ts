import {
  AckPolicy,
  type ConsumerConfig,
  type ConsumerInfo,
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
import {
  busy,
  messageOf,
  type NatsSettings,
  natsConnect,
  natsRefusal,
  SUBJECTS,
  silenceHint,
  TributaryError,
} from "../core/index.ts";
import { pause } from "../core/node.ts";

export const STREAM = "INGRESS";
export const DEAD_STREAM = "DEAD";
export const CONSUMER = "ingress";
/** A batch that its consumer does not answer for this long goes to another. It is about as long as a crash and a restart take. */
export const ACK_WAIT_MS = 5_000;
/** What the broker holds for the hub at most, in bytes and in batches. It refuses more, and devices keep their events. */
const MAX_STREAM_BYTES = 1024 * 1024 * 1024;
const MAX_STREAM_BATCHES = 100_000;
/** And of one device, which has 4 batches under way at a time and sends them again after each lost link. */
export const MAX_DEVICE_BATCHES = 256;
/**
 * Batches handed out and not yet answered, over all ingress processes: as many as the stream holds. What a site has beyond its slots is given back for later
 * and counts here all the while; a lower bound would let one site use it up, and no batch of another site would be handed out.
 */
export const MAX_ACK_PENDING = MAX_STREAM_BATCHES;
/** So many bytes of dead letters are kept, for so long. The oldest go first. */
export const MAX_DEAD_BYTES = 256 * 1024 * 1024;
export const MAX_DEAD_AGE_DAYS = 90;

/** How often the hub looks whether its streams and its consumer are there. */
const LOOK_MS = 2_000;
const REQUEST_TIMEOUT_MS = 3_000;
/**
 * What is missing is made again only after this pause. A stream that is made while the server still removes the old one's files can get these files and hand
 * out nothing (NATS 2.9.10).
 */
const MEND_PAUSE_MS = 1_000;
/**
 * So many looks in a row that find batches in the stream and none handed out to who asks, or none that it would hand out: the consumer is stuck, and is made
 * again.
 */
const STUCK_LOOKS = 4;
const DAY_MS = 86_400_000;

/** How a broker keeps the hub's streams. What is not given stays as it is; a new stream gets the broker's defaults. */
export interface StreamSettings {
  /** Copies of each stream, one on each server: 3 in a cluster, so that one server may be lost. */
  readonly replicas?: number;
  readonly ingressBytes?: number;
  readonly deadBytes?: number;
  /** On which servers: those of this cluster, those that have all these tags. */
  readonly cluster?: string;
  readonly tags?: readonly string[];
}

/** Where the broker answers the hub. No sender can have an answer sent there, because `mayAnswerAt` refuses such a subject. */
const HUB_INBOX = "_INBOX_HUB";

/**
 * Connects to the broker. Throws `login-refused` and `tls-refused` where the broker, or this machine, will not have it; `backend-unreachable` when there is none.
 * A login that is refused later, while a broker restarts with other logins, is tried again.
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

/** Makes the streams and the durable consumer if they are missing, and brings their limits up to date. */
export async function prepareBroker(nc: NatsConnection, settings: StreamSettings = {}): Promise<void> {
  try {
    await prepare(await manager(nc), settings);
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
  await prepareStream(jsm, ingressConfig(settings));
  await prepareStream(jsm, deadConfig(settings));
  await prepareConsumer(jsm);
}

const placed = ({ replicas, cluster, tags }: StreamSettings): Partial<StreamConfig> => ({
  ...(replicas === undefined ? {} : { num_replicas: replicas }),
  ...(cluster === undefined && tags === undefined ? {} : { placement: { cluster: cluster ?? "", tags: [...(tags ?? [])] } }),
});

const ingressConfig = (settings: StreamSettings) => ({
  name: STREAM,
  subjects: [`${SUBJECTS.ingress}.>`],
  retention: RetentionPolicy.Workqueue,
  storage: StorageType.File,
  discard: DiscardPolicy.New,
  max_bytes: settings.ingressBytes ?? MAX_STREAM_BYTES,
  max_msgs: MAX_STREAM_BATCHES,
  max_msgs_per_subject: MAX_DEVICE_BATCHES,
  discard_new_per_subject: true,
  ...placed(settings),
});
const deadConfig = (settings: StreamSettings) => ({
  name: DEAD_STREAM,
  subjects: [`${SUBJECTS.dead}.>`],
  retention: RetentionPolicy.Limits,
  storage: StorageType.File,
  discard: DiscardPolicy.Old,
  max_bytes: settings.deadBytes ?? MAX_DEAD_BYTES,
  max_age: nanos(MAX_DEAD_AGE_DAYS * DAY_MS),
  ...placed(settings),
});
const CONSUMER_CONFIG: Partial<ConsumerConfig> = {
  durable_name: CONSUMER,
  ack_policy: AckPolicy.Explicit,
  ack_wait: nanos(ACK_WAIT_MS),
  deliver_policy: DeliverPolicy.All,
  max_ack_pending: MAX_ACK_PENDING,
  max_deliver: -1,
};

async function prepareConsumer(jsm: JetStreamManager): Promise<void> {
  try {
    await jsm.consumers.add(STREAM, CONSUMER_CONFIG);
  } catch {
    const made = await jsm.consumers.update(STREAM, CONSUMER, CONSUMER_CONFIG).catch(() => null);
    if (made === null || !isOurs(made)) await makeConsumerAnew(jsm);
  }
}

/** Batches that it has handed out and nobody has answered are handed out again. That does no harm: the log takes an event once. */
async function makeConsumerAnew(jsm: JetStreamManager): Promise<void> {
  await jsm.consumers.delete(STREAM, CONSUMER);
  await jsm.consumers.add(STREAM, CONSUMER_CONFIG);
}

/** Whether the consumer of this name hands out everything to whoever asks. Somebody else may have made, changed or paused it. */
function isOurs({ config, paused }: ConsumerInfo): boolean {
  const { ack_policy, deliver_policy, max_deliver = -1, deliver_subject, filter_subject, filter_subjects, headers_only } = config;
  const { max_batch = 0, max_bytes = 0, max_expires = 0 } = config;
  const isFiltered = (filter_subject ?? "") !== "" || (filter_subjects ?? []).length > 0;
  const isWhole = deliver_policy === DeliverPolicy.All && !isFiltered && headers_only !== true;
  // The broker refuses a request beyond such a bound.
  const isOpen = deliver_subject === undefined && paused !== true && max_batch <= 0 && max_bytes <= 0 && max_expires <= 0;
  return isWhole && isOpen && ack_policy === AckPolicy.Explicit && max_deliver === -1;
}

const manager = (nc: NatsConnection): Promise<JetStreamManager> =>
  nc.jetstreamManager({ timeout: REQUEST_TIMEOUT_MS, checkAPI: false });

async function prepareStream(jsm: JetStreamManager, config: Partial<StreamConfig> & { name: string }): Promise<void> {
  try {
    const { description } = (await jsm.streams.info(config.name)).config;
    await jsm.streams.update(config.name, { ...config, ...(description === undefined ? {} : { description }) });
  } catch (error) {
    if (!isMissing(error)) throw error;
    await jsm.streams.add(config);
  }
}

const isMissing = (error: unknown): boolean => error instanceof NatsError && error.api_error?.code === 404;

/** Turns JetStream's own words for what it lacks into what the sender is told. */
export function publishFailure(error: unknown): TributaryError {
  const said = error instanceof NatsError ? (error.api_error?.description ?? error.message) : messageOf(error);
  if (/no space left|insufficient (storage )?resources|disk/i.test(said))
    return new TributaryError(
      "disk-full",
      "the broker's disk is full",
      "Your events are safe on the device. Somebody has to free space at the hub.",
      {
        cause: error,
      },
    );
  if (/maximum messages per subject/i.test(said)) return busy("this device has too many batches waiting there already");
  if (/maximum (messages|bytes)/i.test(said)) return busy("too many batches wait at the broker");
  return new TributaryError("backend-unreachable", `the broker did not take the batch: ${said}`, "Send it again later.", {
    cause: error,
  });
}

export interface BrokerState {
  /** `null` when it is as it should be; otherwise what is wrong with it. */
  readonly broker: string | null;
  readonly stream: string | null;
  readonly consumer: string | null;
  /** Batches in the stream, and those of them that are handed out, as of the last look. */
  readonly waiting: number;
  readonly handedOut: number;
  /** The hub whose mark the stream bears, if it is not this one. */
  readonly otherHub: { readonly log: string; readonly name: string } | null;
}

export interface BrokerWatch {
  state(): BrokerState;
  /** Looks now, and makes what is missing. */
  look(): Promise<void>;
  close(): Promise<void>;
}

const FINE: BrokerState = { broker: null, stream: null, consumer: null, waiting: 0, handedOut: 0, otherHub: null };
/** When a hub has not been heard of for this long, its mark on the stream is replaced by ours. */
const MARK_STANDS_MS = 30_000;
const MARK = /^Tributary hub (.*), log ([a-z2-7]{12})$/s;

/**
 * Keeps the broker as the hub needs it: looks every few seconds, and at once when the link was lost, whether streams and consumer are there, and makes what
 * somebody deleted or an emptied store lacks. The stream bears the mark of the hub that uses it, for one that starts later.
 * Long because its functions share the state that they watch and mend; each is short.
 */
export function watchBroker({
  nc,
  logId,
  name,
  say,
  streams = {},
  onMended,
}: {
  nc: NatsConnection;
  logId: () => string | null;
  name: string;
  say: (event: Record<string, unknown>) => void;
  streams?: StreamSettings;
  /** The link was lost and is there again, or something was made again: what was asked of the broker before is lost. A new stream numbers its batches from the start. */
  onMended: (isNewStream: boolean) => void;
}): BrokerWatch {
  let state = FINE;
  let created: string | null = null;
  let handedOut = 0;
  let idleLooks = 0;
  let looking: Promise<void> | null = null;
  let otherSinceMs: number | null = null;
  const closing = new AbortController();

  const mended = (missing: string, why = "was gone from the broker"): void => {
    say({ event: "broker-mended", missing, message: `the ${missing} ${why}, and was made again` });
    onMended(false);
  };
  /** Whose stream it is. The mark of another log stays as long as its hub may be running; then ours replaces it. */
  const mark = async (jsm: JetStreamManager, config: StreamConfig): Promise<BrokerState["otherHub"]> => {
    const log = logId();
    if (log === null) return null;
    const description = `Tributary hub ${name}, log ${log}`;
    if (config.description === description) return null;
    const [, otherName, other] = MARK.exec(config.description ?? "") ?? [];
    if (other !== undefined && other !== log) {
      if (otherSinceMs === null) {
        otherSinceMs = Date.now();
        say({
          event: "another-hub",
          log: other,
          name: otherName,
          message: `the broker's stream was last used by another hub (${otherName}), with another log`,
        });
      }
      if (Date.now() - otherSinceMs < MARK_STANDS_MS) return { log: other, name: otherName ?? "" };
      say({ event: "stream-taken-over", log: other, name: otherName });
    }
    otherSinceMs = null;
    await jsm.streams.update(STREAM, { ...config, description });
    return null;
  };
  /** A consumer that hands out nothing: as it was made or paused, or although batches are in the stream and it is asked for them. */
  const unstick = async (jsm: JetStreamManager, consumer: ConsumerInfo, inStream: number): Promise<void> => {
    const { num_pending, num_waiting, num_ack_pending, delivered } = consumer;
    const isAsked = num_pending === 0 || num_waiting > 0;
    const isIdle = inStream > 0 && isAsked && num_ack_pending === 0 && delivered.consumer_seq === handedOut;
    handedOut = delivered.consumer_seq;
    idleLooks = isIdle ? idleLooks + 1 : 0;
    if (isOurs(consumer) && idleLooks < STUCK_LOOKS) return;
    idleLooks = 0;
    await makeConsumerAnew(jsm);
    mended(`consumer ${CONSUMER}`, isOurs(consumer) ? "handed out nothing" : "was not as the hub had made it, or was paused,");
  };
  const examine = async (): Promise<BrokerState> => {
    const jsm = await manager(nc);
    const found = async <T>(what: string, ask: () => Promise<T>, make: () => Promise<void>): Promise<T> => {
      try {
        return await ask();
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
      await pause(MEND_PAUSE_MS, closing.signal);
      if (closing.signal.aborted) return ask();
      await make();
      mended(what);
      return ask();
    };
    const stream = (config: Partial<StreamConfig> & { name: string }) =>
      found(
        `stream ${config.name}`,
        () => jsm.streams.info(config.name),
        () => prepareStream(jsm, config),
      );
    const { config, state: held, created: since } = await stream(ingressConfig(streams));
    const isNewStream = created !== null && created !== String(since);
    created = String(since);
    if (isNewStream) onMended(true);
    await stream(deadConfig(streams));
    const consumer = await found(
      `consumer ${CONSUMER}`,
      () => jsm.consumers.info(STREAM, CONSUMER),
      () => prepareConsumer(jsm),
    );
    await unstick(jsm, consumer, held.messages);
    const { num_ack_pending } = consumer;
    return { ...FINE, waiting: held.messages, handedOut: num_ack_pending, otherHub: await mark(jsm, config) };
  };
  const look = async (): Promise<void> => {
    const before = state;
    try {
      state = await examine();
      if (before.broker !== null || before.stream !== null) {
        say({ event: "broker-back" });
        onMended(false);
      }
    } catch (error) {
      if (closing.signal.aborted) return;
      const why = nc.isClosed() ? "the connection is closed" : messageOf(error);
      const isBroker = nc.isClosed() || !(error instanceof NatsError) || error.api_error === undefined;
      state = {
        ...FINE,
        broker: isBroker ? `the broker does not answer: ${why}` : null,
        stream: `the streams cannot be looked at: ${why}`,
        consumer: why,
      };
      if (before.stream === null) say({ event: "broker-away", message: why });
    }
  };
  /** One look at a time. Whoever asks meanwhile gets the result of the one under way. */
  const lookOnce = (): Promise<void> => {
    looking ??= look().finally(() => {
      looking = null;
    });
    return looking;
  };

  const follow = async (): Promise<void> => {
    for await (const { type } of nc.status()) {
      if (closing.signal.aborted) return;
      if (type === "disconnect") {
        state = { ...state, broker: "the connection to the broker is lost" };
        say({ event: "broker-disconnected" });
      }
      if (type === "reconnect") void lookOnce();
    }
  };
  const watch = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      await lookOnce();
      await pause(LOOK_MS, closing.signal);
    }
  };
  follow().catch((error: unknown) => say({ event: "broker-status-lost", message: messageOf(error) }));
  const watching = watch();

  return {
    state: () => (nc.isClosed() ? { ...state, broker: "the connection is closed" } : state),
    look: lookOnce,
    async close() {
      closing.abort();
      await watching;
    },
  };
}
