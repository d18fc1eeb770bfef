import { isNatsUrl, TributaryError, withoutLogin } from "../core/index.ts";
import { httpTransport } from "./transport-http.ts";
import { natsTransport } from "./transport-nats.ts";
import type { Transport, TransportOptions } from "./way.ts";

/** Opens the way that an address names. */
export async function openTransport(options: TransportOptions): Promise<Transport> {
  if (isNatsUrl(options.url)) return natsTransport(options);
  const scheme = URL.parse(options.url)?.protocol;
  if (scheme === "http:" || scheme === "https:") return httpTransport(options);
  throw new TributaryError(
    "usage",
    `${JSON.stringify(withoutLogin(options.url))} is no hub address`,
    "Write it like nats://hub:4222 or https://hub:8080.",
  );
}
