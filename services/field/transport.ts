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
  if (way === "http:" || way === "https:") mustBePlain(options.url);
  if (way !== null) return OPENERS[way](options);
  throw new TributaryError(
    "usage",
    `${JSON.stringify(withoutLogin(options.url))} is not a hub's address`,
    "Write it like nats://hub:4222 or https://hub:8080.",
  );
}

/** Throws `usage` for an address with a login: over HTTP a device shows its token or its key, and requests cannot carry another. */
function mustBePlain(url: string): void {
  const parsed = URL.parse(url);
  if (parsed === null || (parsed.username === "" && parsed.password === "")) return;
  throw new TributaryError(
    "usage",
    `the address ${parsed.protocol}//${parsed.host} has a user or a password in it`,
    "Leave them out, and give the token with --token. Logins in an address are for nats:// only.",
  );
}
