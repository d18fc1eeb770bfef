import { connect } from "node:net";
import { messageOf } from "../core/index.ts";

/** A server on this machine answers at once or not at all; one behind a slow link is given time. */
const HERE_TIMEOUT_MS = 1_200;
const FAR_TIMEOUT_MS = 5_000;

interface Address {
  readonly host: string;
  readonly port: number;
}

/** What makes a server answer: the bytes to send, or `null` if it speaks first. Where TLS comes first, only the link can be tried. */
type Greeting = { readonly kind: "link" } | { readonly kind: "answer"; readonly bytes: Buffer | null };

/** PostgreSQL's SSLRequest: answered with one letter, also while it recovers. */
const POSTGRES = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
/** The HTTP/2 preface and an empty SETTINGS frame. */
const HTTP2 = Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])]);

function greetingFor(scheme: string, url: string): { readonly greeting: Greeting; readonly port: number } | null {
  const answer = (bytes: Buffer | null): Greeting => ({ kind: "answer", bytes });
  switch (scheme) {
    case "nats":
      return { greeting: answer(null), port: 4222 };
    case "tls":
      return { greeting: { kind: "link" }, port: 4222 };
    case "postgres":
    case "postgresql":
      return { greeting: answer(POSTGRES), port: 5432 };
    case "esdb":
    case "esdb+discover":
    case "kurrentdb":
    case "kurrentdb+discover":
      return { greeting: /[?&]tls=false/i.test(url) ? answer(HTTP2) : { kind: "link" }, port: 2113 };
    default:
      return null;
  }
}

/**
 * Whether a server gives any sign of life, in about a second: for commands that should say so at once, before its own client waits and tries again. A suspended
 * process is found out, too: the system accepts its connections, but nobody answers. Returns why the server counts as silent; `null`: it answers, or this cannot judge its address.
 */
export async function silenceOf(url: string): Promise<string | null> {
  const [, scheme = "", hosts = ""] = /^([a-z+]+):\/\/(?:[^@/]*@)?([^/?]*)/i.exec(url) ?? [];
  const known = greetingFor(scheme.toLowerCase(), url);
  if (known === null || hosts === "") return null;
  const addresses = hosts.split(",").map((text): Address => {
    const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]*))(?::(\d+))?$/.exec(text) ?? [];
    return { host: bracketed ?? plain ?? text, port: port === undefined ? known.port : Number(port) };
  });
  const problems = await Promise.all(addresses.map((address) => silenceAt(address, known.greeting)));
  return problems.includes(null) ? null : problems.join("; ");
}

const isHere = (host: string): boolean => /^(127\.|::1$|localhost$)/.test(host);

function silenceAt({ host, port }: Address, greeting: Greeting): Promise<string | null> {
  const timeoutMs = isHere(host) ? HERE_TIMEOUT_MS : FAR_TIMEOUT_MS;
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (problem: string | null): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(problem === null ? null : `${host}:${port}: ${problem}`);
    };
    const timer = setTimeout(() => end(`no answer in ${timeoutMs / 1000} s`), timeoutMs);
    socket.on("error", (error: NodeJS.ErrnoException) =>
      end(error.code === "ECONNREFUSED" ? "nothing listens there" : messageOf(error) || (error.code ?? "no link")),
    );
    socket.on("close", () => end("it closes the connection"));
    socket.on("connect", () => {
      if (greeting.kind === "link") end(null);
      else if (greeting.bytes !== null) socket.write(greeting.bytes);
    });
    socket.on("data", () => end(null));
  });
}
