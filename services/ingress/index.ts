/**
 * The hub's door: batches come in over JetStream and HTTP; runs of gated events go into the log, and receipts back to their
 * senders. Never an acknowledgement before the log has the events, never a rejected event that is not kept.
 */
import type { JSONWebKeySet } from "jose";
import type { Gate, Registry } from "../gate/index.ts";
import { type Log, openKeyBook } from "../log/index.ts";
import { acceptor } from "./accept.ts";
import { connectBroker, prepareBroker } from "./broker.ts";
import { consume } from "./consume.ts";
import { type DoorAnswer, type DoorRequest, type Listening, listen } from "./door.ts";
import { answerHellos } from "./hello.ts";
import { fixedKeyring, type Keyring } from "./keyring.ts";
import { type Doorkeeper, doorkeeper } from "./token.ts";
import { refuseRevoked, seal, vouch } from "./vouch.ts";

export interface IngressOptions {
  readonly natsUrl: string;
  readonly log: Log;
  readonly gate: Gate;
  /** Where devices' proposals go. */
  readonly registry?: Registry;
  /** Answers requests whose path is none of the door's own; `null`: nor of these. */
  readonly also?: (request: DoorRequest, keeper: Doorkeeper) => Promise<DoorAnswer | null>;
  /** The hub's keys. With their private part it signs its answers; without, it only checks tokens. */
  readonly keys: JSONWebKeySet | Keyring;
  /** Take nothing from devices that have no enrolled key. */
  readonly requireKeys?: boolean;
  /** Where the HTTP door listens; `null`: no HTTP. */
  readonly listen: { readonly host: string; readonly port: number } | null;
  readonly driftLimitMs?: number;
  readonly say?: (event: Record<string, unknown>) => void;
}

export interface Ingress {
  readonly http: Listening | null;
  /** Stops taking batches, finishes those begun, and closes. */
  close(): Promise<void>;
}

export async function startIngress(options: IngressOptions): Promise<Ingress> {
  const { log, gate, registry, also, say = () => {} } = options;
  const ring = "state" in options.keys ? options.keys : fixedKeyring(options.keys);
  const book = await openKeyBook(log.journal, {
    signer: () => ring.state().signer,
    follow: true,
    onFact: ({ type, data }) => say({ event: "keys-changed", what: type, device: data.device, site: data.site }),
    onInterruption: (message) => say({ event: "keys-interrupted", message }),
  });
  const keeper = doorkeeper(ring, refuseRevoked(book.record));
  const requireKeys = options.requireKeys ?? false;
  const voucher = vouch({ book, ring, keeper, requireKeys });
  const accepts = acceptor({
    log,
    gate,
    ...(registry === undefined ? {} : { registry }),
    ...(options.driftLimitMs === undefined ? {} : { driftLimitMs: options.driftLimitMs }),
    onFork: (origin, seq) => say({ event: "fork-kept", origin, seq }),
  });
  const nc = await connectBroker(options.natsUrl, "tributary-ingress").catch((error: unknown) => {
    book.close();
    throw error;
  });
  try {
    await prepareBroker(nc);
    const deps = { nc, keeper, accepts, vouch: voucher, seal: seal(ring), say };
    const consumer = await consume(deps);
    const hellos = answerHellos(deps);
    const http =
      options.listen === null ? null : await listen({ ...deps, log, ...(also === undefined ? {} : { also }), ...options.listen });
    const close = async (): Promise<void> => {
      await http?.close();
      await hellos.close();
      await consumer.close();
      book.close();
      await nc.drain();
    };
    let closing: Promise<void> | null = null;
    return {
      http,
      close: () => {
        closing ??= close();
        return closing;
      },
    };
  } catch (error) {
    book.close();
    await nc.close();
    throw error;
  }
}

export { type Acceptor, acceptor, DRIFT_LIMIT_MS } from "./accept.ts";
export { ACK_WAIT_MS, CONSUMER, connectBroker, DEAD_STREAM, prepareBroker, STREAM } from "./broker.ts";
export type { DoorAnswer, DoorRequest } from "./door.ts";
export {
  fixedKeyring,
  type HubKey,
  hubKeyId,
  type Keyring,
  keyring,
  OVERLAP_HOURS,
  signingKeyAt,
  withNextKey,
  withoutKey,
} from "./keyring.ts";
export { type Doorkeeper, issueToken, makeKey, publicKey, SCOPE_APPEND, SCOPE_ENROL, SCOPE_SCHEMAS } from "./token.ts";
export { REQUEST_WINDOW_MS } from "./vouch.ts";
