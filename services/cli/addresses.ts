/** Addresses as people give them, on the command line, in the environment or in a configuration file. */
import { TributaryError, wayOf } from "../core/index.ts";
import type { Listen } from "./state.ts";

/** Splits `host:port`; an IPv6 host stands in brackets. */
export function parseListen(text: string): Listen {
  const parts = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  if (parts === null || Number(parts[3]) > 65_535) {
    throw new TributaryError(
      "usage",
      `${JSON.stringify(text)} is not an address to listen on`,
      "Write it as host:port, for example 127.0.0.1:8080.",
    );
  }
  return { host: parts[1] ?? parts[2]!, port: Number(parts[3]) };
}

/** An address at which devices reach the hub, as its operator knows it. `what` names the address in an error. */
export function publicUrl(url: string, what: string): string {
  const parsed = URL.parse(url);
  if (parsed === null || wayOf(url) === null || parsed.hostname === "")
    throw new TributaryError(
      "usage",
      `${what} ${JSON.stringify(url)} is not an address that devices sync with`,
      "Write it like nats://hub.example.org:4222 or https://hub.example.org; several with commas.",
    );
  if (parsed.username !== "" || parsed.password !== "")
    throw new TributaryError(
      "usage",
      `${what} ${parsed.protocol}//${parsed.host} has a user or a password in it`,
      "Leave them out: this address is printed for everybody who sets up a device.",
    );
  return url.replace(/\/+$/, "");
}
