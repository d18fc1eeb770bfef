/** Addresses as people give them, on the command line, in the environment or in a configuration file. */
import { networkInterfaces } from "node:os";
import { isNatsUrl, parseNatsUrl, TributaryError, wayOf, withoutLogin } from "../core/index.ts";
import type { HubState, Listen } from "./state.ts";

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

/** A web page's origin as an `Origin` header has it: `https://app.example.org`. Throws `usage` for what is none. */
export function originIn(text: string): string {
  const parsed = URL.parse(text);
  const isWeb = parsed?.protocol === "https:" || parsed?.protocol === "http:";
  if (parsed !== null && isWeb && parsed.origin === text) return text;
  throw new TributaryError(
    "usage",
    `${JSON.stringify(text)} names no web pages that may ask this hub`,
    "Write scheme, host and port as a browser does: https://app.example.org or http://localhost:5173; several with commas.",
  );
}

const isOnlyHere = (url: string): boolean =>
  (isNatsUrl(url) ? parseNatsUrl(url).servers : [URL.parse(url)?.host ?? ""]).every((host) =>
    /^(127\.|localhost(:|$)|\[::1\])/.test(host),
  );

/**
 * Where devices reach the hub: the addresses that its operator gave; else those of this machine at which a door is open; else the hub's own, which work on this machine only.
 */
export function addressesOf(state: HubState): { readonly urls: readonly string[]; readonly isReachable: boolean } {
  if (state.publicUrls !== undefined && state.publicUrls.length > 0) return { urls: state.publicUrls, isReachable: true };
  const open = state.listen !== undefined && isEverywhere(state.listen.host) ? outsideAddresses(state.listen) : [];
  const own = [withoutLogin(state.natsUrl), state.httpUrl].filter((url) => url !== "");
  const urls = [...own.filter((url) => !isOnlyHere(url)), ...open];
  return urls.length > 0 ? { urls, isReachable: true } : { urls: own, isReachable: false };
}

/** A door's addresses on this machine's networks. */
function outsideAddresses({ host, port }: NonNullable<HubState["listen"]>): string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, family, scopeid }) => !internal && !scopeid && (host === "::" || family === "IPv4"))
    .map(({ address }) => `http://${bracketed(address)}:${port}`);
}

/** A host as it stands in an address. */
export const bracketed = (host: string): string => (host.includes(":") ? `[${host}]` : host);

/** Whether a door that listens there is open to all of this machine's addresses. */
export const isEverywhere = (host: string): boolean => host === "0.0.0.0" || host === "::";
