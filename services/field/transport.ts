import { isNatsUrl, TributaryError, withoutLogin } from "../core/index.ts";
import type { Transport, TransportOptions } from "./way.ts";

/** Opens the way that an address names. Each is loaded by who takes it: a device that only writes down has need of neither. */
export async function openTransport(options: TransportOptions): Promise<Transport> {
  if (isNatsUrl(options.url)) return (await import("./transport-nats.ts")).natsTransport(options);
  const scheme = URL.parse(options.url)?.protocol;
  if (scheme === "http:" || scheme === "https:") mustBePlain(options.url);
  if (scheme === "http:" || scheme === "https:") return (await import("./transport-http.ts")).httpTransport(options);
  throw new TributaryError(
    "usage",
    `${JSON.stringify(withoutLogin(options.url))} is no hub address`,
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
