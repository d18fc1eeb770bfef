import { TributaryError, withoutLogin } from "../core/index.ts";
import {
  greet,
  kindOf,
  kindsAt,
  linkProblem,
  NOTHING_LISTENS,
  otherKindAt,
  SAYS_NOTHING,
  SERVER_KINDS,
  type ServerAddress,
  type ServerKind,
} from "../core/node.ts";

/** What makes a server answer: the greeting to send. Where TLS comes first, only the link can be tried. */
interface Known {
  readonly kind: ServerKind;
  readonly greeting: "none" | "postgres" | "http2" | "link";
  readonly port: number;
}

function knownBy(scheme: string, url: string): Known | null {
  switch (scheme) {
    case "nats":
      return { kind: "nats", greeting: "none", port: 4222 };
    case "tls":
      return { kind: "nats", greeting: "link", port: 4222 };
    case "postgres":
    case "postgresql":
      return { kind: "postgres", greeting: "postgres", port: 5432 };
    case "esdb":
    case "esdb+discover":
    case "kurrentdb":
    case "kurrentdb+discover":
      return /[?&]tls=false/i.test(url)
        ? { kind: "http2", greeting: "http2", port: 2113 }
        : { kind: "tls", greeting: "link", port: 2113 };
    default:
      return null;
  }
}

/** The servers that an address names, with what is expected there; `null`: this cannot judge such an address. */
function readAddress(url: string): { readonly known: Known; readonly addresses: readonly ServerAddress[] } | null {
  const [, scheme = ""] = /^([a-z+]+):\/\//i.exec(url) ?? [];
  const hosts = url
    .split(",")
    .map((part) => /^(?:[a-z+]+:\/\/)?(?:[^@/]*@)?([^/?]*)/i.exec(part)?.[1] ?? "")
    .join(",");
  const known = knownBy(scheme.toLowerCase(), url);
  if (known === null || hosts === "") return null;
  // `nats://one:4222,nats://two:4222` names two servers, as `nats://one:4222,two:4222` does.
  const addresses = hosts.split(",").map((text): ServerAddress => {
    const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]*))(?::(\d+))?$/.exec(text) ?? [];
    return { host: bracketed ?? plain ?? text, port: port === undefined ? known.port : Number(port) };
  });
  return { known, addresses };
}

/**
 * Whether a server gives any sign of life, in a few seconds at most: for commands that should say so at once, before its own client waits and tries again. A suspended
 * process is found out, too: the system accepts its connections, but nobody answers. A server of another kind counts as silent. Returns why the server counts as silent; `null`: it answers, or this cannot judge its address.
 */
export async function silenceOf(url: string): Promise<string | null> {
  const read = readAddress(url);
  if (read === null) return null;
  const problems = await Promise.all(read.addresses.map((address) => silenceAt(address, read.known)));
  return problems.includes(null) ? null : problems.join("; ");
}

async function silenceAt(address: ServerAddress, { kind, greeting }: Known): Promise<string | null> {
  const where = `${address.host}:${address.port}`;
  if (greeting === "link") {
    const why = await linkProblem(address);
    return why === null ? null : `${where}: ${why}`;
  }
  const answer = await greet(address, greeting);
  if (answer.kind === "none" && answer.why === NOTHING_LISTENS) return `${where}: ${answer.why}`;
  // Most servers wait to be asked in their own way, and a busy one may answer by now.
  const kinds = answer.kind === "none" ? await kindsAt(address) : null;
  if (kinds?.has(kind)) return null;
  const found = answer.kind === "bytes" ? kindOf(answer.bytes, greeting) : ([...(kinds ?? [])][0] ?? null);
  if (answer.kind === "none" && found === null)
    return `${where}: ${answer.why.startsWith("no answer") ? SAYS_NOTHING : answer.why}`;
  return found === null || found === kind ? null : `${where}: ${SERVER_KINDS[found]} answers there`;
}

/**
 * The error for an address in the environment at which servers of another kind answer; `null`: they are of the right kind, or nothing is known of them. `variable` names the address.
 */
export async function otherKindBehind(variable: string, url: string): Promise<TributaryError | null> {
  const read = readAddress(url);
  if (read === null) return null;
  const { known, addresses } = read;
  const others = await Promise.all(addresses.map((address) => otherKindAt(address, known.kind)));
  const [first] = others;
  if (first == null || others.includes(null)) return null;
  const tls = TLS_HINTS[`${known.kind} ${first}`];
  return new TributaryError(
    "backend-unreachable",
    `${variable} names ${withoutLogin(url)}, and what answers there is ${SERVER_KINDS[first]}, not ${WANTED[known.kind] ?? SERVER_KINDS[known.kind]}`,
    tls ?? `Check the host and the port in ${variable}, or unset it.`,
  );
}

/** What is expected at the address of an event store. */
const WANTED: Partial<Record<ServerKind, string>> = { http2: "an event store without TLS", tls: "an event store with TLS" };
/** What to do where only TLS was expected otherwise. */
const TLS_HINTS: Readonly<Record<string, string>> = {
  "http2 tls": "If it is the event store, leave out tls=false; else check the host and the port.",
  "tls http2": "If it is the event store, add ?tls=false to the address; else check the host and the port.",
  "tls http": "If it is the event store, add ?tls=false to the address; else check the host and the port.",
};
