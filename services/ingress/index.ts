/**
 * The hub's door: batches come in over JetStream and HTTP; runs of gated events go into the log, and receipts back to their
 * senders. Never an acknowledgement before the log has the events, never a rejected event that is not kept.
 */
import type { JSONWebKeySet } from "jose";
import type { NatsSettings } from "../core/index.ts";
import type { Fits, Gate, Registry } from "../gate/index.ts";
import type { Log } from "../log/index.ts";
import { acceptor } from "./accept.ts";
import { connectBroker, prepareBroker, type StreamSettings } from "./broker.ts";
import { consume } from "./consume.ts";
import { type DoorAnswer, type DoorRequest, type Listening, listen } from "./door.ts";
import { answerHellos } from "./hello.ts";
import { type Doorkeeper, doorkeeper } from "./token.ts";

export interface IngressOptions {
  readonly natsUrl: string;
  /** Login and certificates at the broker, where the address has none. */
  readonly nats?: NatsSettings;
  /** How the broker keeps the hub's streams. */
  readonly streams?: StreamSettings;
  readonly log: Log;
  readonly gate: Gate;
  /** Where devices' proposals go. */
  readonly registry?: Registry;
  /** Answers requests whose path is none of the door's own; `null`: nor of these. */
  readonly also?: (request: DoorRequest, keeper: Doorkeeper) => Promise<DoorAnswer | null>;
  /** What views can show; default: anything. */
  readonly fits?: Fits;
  readonly keys: JSONWebKeySet;
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
  const { log, gate, registry, fits, also, say = () => {} } = options;
  const keeper = doorkeeper(options.keys);
  const accepts = acceptor({
    log,
    gate,
    ...(registry === undefined ? {} : { registry }),
    ...(fits === undefined ? {} : { fits }),
    ...(options.driftLimitMs === undefined ? {} : { driftLimitMs: options.driftLimitMs }),
  });
  const nc = await connectBroker(options.natsUrl, "tributary-ingress", options.nats);
  try {
    await prepareBroker(nc, options.streams);
    const consumer = await consume({ nc, keeper, accepts, say });
    const hellos = answerHellos({ nc, keeper, accepts, say });
    const http =
      options.listen === null
        ? null
        : await listen({ nc, keeper, accepts, say, log, ...(also === undefined ? {} : { also }), ...options.listen });
    const close = async (): Promise<void> => {
      await http?.close();
      await hellos.close();
      await consumer.close();
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
    await nc.close();
    throw error;
  }
}

export { type Acceptor, acceptor, DRIFT_LIMIT_MS } from "./accept.ts";
export { ACK_WAIT_MS, CONSUMER, connectBroker, DEAD_STREAM, prepareBroker, STREAM, type StreamSettings } from "./broker.ts";
export type { DoorAnswer, DoorRequest } from "./door.ts";
export { type Doorkeeper, issueToken, makeKey, publicKey, SCOPE_APPEND, SCOPE_SCHEMAS } from "./token.ts";
