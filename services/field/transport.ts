import { TributaryError, type Way, wayOf, withoutLogin } from "../core/index.ts";
import type { Transport, TransportOptions } from "./way.ts";

type Opener = (options: TransportOptions) => Promise<Transport>;

// Each transport is loaded when it is used: a device that only writes needs none.
const overNats: Opener = async (options) => (await import("./transport-nats.ts")).natsTransport(options);
const overHttp: Opener = async (options) => (await import("./transport-http.ts")).httpTransport(options);

const OPENERS: Record<Way, Opener> = { "nats:": overNats, "tls:": overNats, "http:": overHttp, "https:": overHttp };

/** Opens the way that an address names. */
export async function openTransport(options: TransportOptions): Promise<Transport> {
  const way = wayOf(options.url);
  if (way !== null) return OPENERS[way](options);
  throw new TributaryError(
    "usage",
    `${JSON.stringify(withoutLogin(options.url))} is not a hub's address`,
    "Write it like nats://hub:4222 or https://hub:8080.",
  );
}
