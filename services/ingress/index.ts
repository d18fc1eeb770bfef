/**
 * The hub's door: batches come in over JetStream and HTTP; runs of gated events go into the log, and receipts back to their
 * senders. Never an acknowledgement before the log has the events, never a rejected event that is not kept.
 */
import type { NatsConnection } from "nats";
import {
  type Appendable,
  type HubOrg,
  type IncarnationId,
  messageOf,
  type NatsSettings,
  type Noted,
  PROTOCOL,
  type Reply,
  type Signature,
  TributaryError,
} from "../core/index.ts";
import type { Fits, Gate, Registry } from "../gate/index.ts";
import {
  type Doorkeeper,
  doorkeeper,
  fixedKeyring,
  isSealed,
  type JSONWebKeySet,
  type Keyring,
  type Listening,
  listen,
  type PersonClaims,
  type Surface,
} from "../http/index.ts";
import { type KeyBook, type Log, openKeyBook, signNotes } from "../log/index.ts";
import { type Acceptor, acceptor } from "./accept.ts";
import { type BrokerWatch, connectBroker, prepareBroker, type StreamSettings, watchBroker } from "./broker.ts";
import { type Consuming, consume } from "./consume.ts";
import { deliveries } from "./deliver.ts";
import { health, ownParts, type PartChecks } from "./health.ts";
import { answerHellos, helloAnswers } from "./hello.ts";
import { type DoorDeps, doorRoutes } from "./http-routes.ts";
import { type Hubs, meetHubs } from "./hubs.ts";
import { answerPulls, type Pulls, pullAnswers } from "./pulls.ts";
import { refuseRevoked, refuseRevokedPerson } from "./refuse.ts";
import type { Settled } from "./settled.ts";
import { type Standing, watchStore } from "./standing.ts";
import { seal, type Vouch, vouch } from "./vouch.ts";

export interface IngressOptions {
  readonly natsUrl: string;
  /** Login and certificates at the broker, if the address has none. */
  readonly nats?: NatsSettings;
  /** How the broker keeps the hub's streams. */
  readonly streams?: StreamSettings;
  readonly log: Log;
  /**
   * The organisation whose hub this is. Only its people release and reject quarantined events, note cases and register sites. `null`: the log says which one
   * it is.
   */
  readonly org: HubOrg;
  readonly gate: Gate;
  /** Where devices' proposals go. */
  readonly registry?: Registry;
  /** Routes of other parts at the same address. `keeper` says which site asks; `revoked` throws for a person who was revoked. */
  readonly also?: (keeper: Doorkeeper, revoked: (claims: PersonClaims) => void) => readonly Surface[];
  /** Origins of web pages that may ask from a browser, besides the door's own. */
  readonly origins?: readonly string[];
  /** What views can show; default: anything. */
  readonly fits?: Fits;
  /** Which quarantined events were settled, for the devices that ask; default: they are not told. */
  readonly settled?: Settled;
  /** What answers pulls; default: they are refused, in words. */
  readonly pulls?: Pulls;
  /** The hub's keys. With their private parts it signs its answers; without these it only checks tokens. */
  readonly keys: JSONWebKeySet | Keyring;
  /** Take nothing from devices that have no enrolled key. */
  readonly requireKeys?: boolean;
  /** Where the HTTP door listens; `null`: no HTTP. */
  readonly listen: { readonly host: string; readonly port: number } | null;
  readonly driftLimitMs?: number;
  /** What people call this hub. Another hub on the same broker is told. */
  readonly name?: string;
  /** Further parts for `/readyz`, which ingress itself does not know. */
  readonly parts?: PartChecks;
  readonly say?: (event: Record<string, unknown>) => void;
}

export interface Ingress {
  readonly http: Listening | null;
  /** Rejects when the connection to the broker is closed for good. Then only a new process helps. */
  readonly failed: Promise<never>;
  /** Stops taking batches, finishes those begun, and closes. */
  close(): Promise<void>;
}

/** What stands between a broker that is connected and doors that are open, each with its owner's `close`. */
interface Watches {
  readonly accepts: Acceptor;
  readonly standing: Standing;
  readonly broker: BrokerWatch;
  readonly hubs: Hubs;
  readonly consumer: Consuming;
}

export async function startIngress(options: IngressOptions): Promise<Ingress> {
  const say = guarded(options.say ?? (() => {}));
  const nc = await connectBroker(options.natsUrl, "tributary-ingress", options.nats);
  const closers: (() => Promise<void> | void)[] = [() => leave(nc)];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.reverse()) await close();
  };
  try {
    await prepareBroker(nc, options.streams);
    const trust = await openTrust(options, say);
    closers.push(trust.book.close);
    const { accepts, standing, broker, hubs, consumer } = await openWatches(options, nc, trust, say, closers);
    const { pulls = null } = options;
    const hello = helloAnswers({ accepts, standing, servesPulls: pulls !== null, ...trust });
    const pullDoor = pullAnswers({ pulls, standing, ...trust });
    for (const door of [answerHellos({ nc, say, ...trust }, hello), answerPulls({ nc, say, ...trust }, pullDoor)])
      closers.push(door.close);
    // What another part says about itself replaces what the door knows of it.
    const parts = { ...ownParts({ broker, standing, hubs, accepts }), ...options.parts };
    const taken = deliveries({ nc, standing, broker, ...trust });
    const doors: Pick<Listening, "close">[] = [];
    closers.push(async () => {
      const closed = doors.map((door) => door.close());
      // Whoever still waits for a receipt is told to come back: the doors close when all of them have their answers.
      taken.close();
      await Promise.all(closed);
    });
    const http = await openDoor(options, { hello, pulls: pullDoor, deliveries: taken, say, ...trust, health: health(parts) });
    if (http !== null) doors.push(http);
    consumer.wake();
    let closing: Promise<void> | null = null;
    return {
      http,
      failed: lost(nc, () => closing !== null),
      close: () => {
        closing ??= closeAll();
        return closing;
      },
    };
  } catch (error) {
    await closeAll().catch(() => {});
    throw error;
  }
}

async function openDoor(
  { also, origins, listen: where }: IngressOptions,
  deps: DoorDeps & Pick<Trust, "book">,
): Promise<Listening | null> {
  if (where === null) return null;
  const { surface, failed } = doorRoutes(deps);
  const surfaces = [surface, ...(also?.(deps.keeper, refuseRevokedPerson(deps.book)) ?? [])];
  const info = { title: "A Tributary hub", version: String(PROTOCOL.newest) };
  return listen({ ...where, surfaces, info, failed, say: deps.say, ...(origins === undefined ? {} : { origins }) });
}

/** Who is believed, and how the hub shows who it is. */
interface Trust {
  readonly book: KeyBook;
  readonly keeper: Doorkeeper;
  readonly vouch: Vouch;
  readonly seal: ReturnType<typeof seal>;
  /** Signs this hub's notes on a run; `null`: it has no key. */
  readonly note: (written: readonly Appendable[], logId: IncarnationId | null) => Noted | null;
  /** How a text is signed in the hub's name at present; `null`: it has no key. */
  readonly signing: () => ((text: string) => Signature) | null;
  /** Whether a message in the hub's name has its signature. */
  readonly isOwn: (message: Reply) => boolean;
}

async function openTrust(options: IngressOptions, say: (event: Record<string, unknown>) => void): Promise<Trust> {
  const { keys, requireKeys = false, log } = options;
  const ring = "state" in keys ? keys : fixedKeyring(keys);
  const book = await openKeyBook(log.journal, {
    signer: () => ring.state().signer,
    follow: true,
    patient: true,
    onFact: ({ type, data }) =>
      say({ event: "keys-changed", what: type, device: data.device, site: data.site, person: data.subject }),
    onInterruption: (message) => say({ event: "keys-interrupted", message }),
  });
  const keeper = doorkeeper(ring, refuseRevoked(book));
  return {
    book,
    keeper,
    vouch: vouch({ book, ring, keeper, requireKeys }),
    seal: seal(ring),
    note: (written, logId) => signNotes(ring.state().signer, logId, written),
    signing: () => ring.state().signer?.sign ?? null,
    isOwn: (message) => isSealed(ring.state(), message),
  };
}

// Many parameters because it is one half of opening the ingress, and takes what the other half has opened.
async function openWatches(
  options: IngressOptions,
  nc: NatsConnection,
  trust: Trust,
  say: (event: Record<string, unknown>) => void,
  closers: (() => Promise<void> | void)[],
): Promise<Watches> {
  const { log, org, gate, registry, fits, settled, driftLimitMs, name = "hub" } = options;
  let standing: Standing | null = null;
  let consumer: Consuming | null = null;
  const accepts = acceptor({
    log,
    gate,
    say,
    incarnation: () => standing?.incarnation()?.id ?? null,
    hub: () => standing?.hub() ?? org,
    headKeys: trust.vouch.headKeys,
    note: (written) => trust.note(written, standing?.logId() ?? null),
    ...(fits === undefined ? {} : { fits }),
    ...(settled === undefined ? {} : { settled }),
    ...(registry === undefined ? {} : { registry }),
    ...(driftLimitMs === undefined ? {} : { driftLimitMs }),
  });
  const onDoubt = (): void => {
    accepts.forget();
    trust.book.reload().catch((error: unknown) => say({ event: "keys-interrupted", message: messageOf(error) }));
  };
  standing = await watchStore({ log, org, say, onDoubt, onChange: () => consumer?.wake() });
  closers.push(standing.close);
  const { logId } = standing;
  const hubs = meetHubs({ nc, logId, name, say });
  closers.push(hubs.close);
  const broker = watchBroker({
    nc,
    logId,
    name,
    say,
    streams: options.streams ?? {},
    onMended: (isNewStream) => consumer?.renew(isNewStream),
  });
  closers.push(broker.close);
  await broker.look();
  consumer = consume({ nc, accepts, standing, broker, hubs, say, ...trust });
  closers.push(consumer.close);
  return { accepts, standing, broker, hubs, consumer };
}

/** A log that cannot be written must not stop the work that it reports. */
const guarded =
  (say: (event: Record<string, unknown>) => void) =>
  (event: Record<string, unknown>): void => {
    try {
      say(event);
    } catch {
      // Nobody is left to be told.
    }
  };

async function leave(nc: NatsConnection): Promise<void> {
  if (nc.isClosed()) return;
  // A broker that is away takes nothing more.
  await Promise.race([nc.drain().catch(() => {}), new Promise((resolve) => setTimeout(resolve, LEAVE_MS).unref())]);
  if (!nc.isClosed()) await nc.close();
}
const LEAVE_MS = 2_000;

function lost(nc: NatsConnection, isClosing: () => boolean): Promise<never> {
  const gone = nc.closed().then((error) => {
    if (isClosing()) return new Promise<never>(() => {});
    throw new TributaryError(
      "backend-failed",
      `the connection to NATS is closed${error instanceof Error ? `: ${messageOf(error)}` : ""}`,
      "The worker ends and is started again.",
    );
  });
  gone.catch(() => {});
  return gone;
}

export { type Acceptor, acceptor, type Behind, DRIFT_LIMIT_MS } from "./accept.ts";
export {
  ACK_WAIT_MS,
  CONSUMER,
  connectBroker,
  DEAD_STREAM,
  MAX_DEAD_AGE_DAYS,
  MAX_DEAD_BYTES,
  MAX_DEVICE_BATCHES,
  prepareBroker,
  STREAM,
  type StreamSettings,
} from "./broker.ts";
export { type DeadContent, type DeadLetter, deadLetter, deadLetters, type RetryOptions, retryDead } from "./dead.ts";
export type { PartCheck, PartChecks, PartState } from "./health.ts";
export type { Puller, Pulls } from "./pulls.ts";
export type { Mark, Settled } from "./settled.ts";
export { REQUEST_WINDOW_MS } from "./vouch.ts";
