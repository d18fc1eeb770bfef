import { TributaryError } from "./errors.ts";
import { isName } from "./ids.ts";
import { SUBJECTS } from "./protocol.ts";

/**
 * How a NATS server is named and logged into, for hub and device alike, and which subjects a site has there. Nothing here reads a file or connects: the
 * callers do, and pass texts in. No function here puts a password, token or seed into an error.
 */

/** What a login needs besides the address: contents, not names of files. */
export interface NatsSettings {
  readonly user?: string;
  readonly password?: string;
  readonly token?: string;
  /** An nkey's seed, `SU…`. */
  readonly nkeySeed?: string;
  /** A creds file's text: a user's JWT and its seed. */
  readonly creds?: string;
  /** PEM texts: the certificates of the authorities that may have signed the server's, and the client's own certificate and key. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

interface Login {
  readonly user?: string;
  readonly pass?: string;
  readonly token?: string;
}

export interface NatsAddress extends Login {
  /** `host:port` of each server. */
  readonly servers: readonly string[];
  readonly isTls: boolean;
}

const HOW = "Write it like nats://hub:4222, or nats://one:4222,nats://two:4222 for several servers of one cluster.";
const SCHEME = /^(nats|tls):\/\//i;
const DEFAULT_PORT = 4222;
/** Servers that one address may name. */
const MAX_SERVERS = 32;

/** Whether an address names NATS servers. */
export const isNatsUrl = (url: string): boolean => SCHEME.test(url.trim());

/**
 * Reads an address: one server, or several separated by commas. The first may carry a login for all of them (`nats://user:password@host`, or
 * `nats://token@host`). What stands between `//` and `@` is percent-decoded; a `@` or `/` in a password is written `%40`, `%2F`.
 */
export function parseNatsUrl(url: string): NatsAddress {
  let login: Login | null = null;
  let isTls = false;
  const servers = url.split(",").map((each) => {
    const part = each.trim();
    const scheme = SCHEME.exec(part)?.[0];
    if (scheme?.toLowerCase() === "tls://") isTls = true;
    const [, userinfo, hostAndPort] = /^(?:([^@]*)@)?([^@]*)$/.exec(part.slice(scheme?.length ?? 0).replace(/\/$/, "")) ?? [];
    const [, host, port = String(DEFAULT_PORT)] =
      /^(\[[0-9a-fA-F:.]+\]|[^\s:/?#[\]]+)(?::(\d{1,5}))?$/.exec(hostAndPort ?? "") ?? [];
    if (host === undefined || Number(port) > 65_535 || Number(port) === 0)
      throw new TributaryError("usage", `${JSON.stringify(withoutLogin(url))} names no NATS servers`, HOW);
    if (userinfo !== undefined) {
      const own = loginOf(userinfo);
      if (login !== null && (login.user !== own.user || login.pass !== own.pass || login.token !== own.token))
        throw new TributaryError(
          "usage",
          "the servers of one address have different logins",
          "Write the login once, before the first host.",
        );
      login = own;
    }
    return `${host}:${port}`;
  });
  if (servers.length > MAX_SERVERS) throw new TributaryError("usage", `the address names more than ${MAX_SERVERS} servers`, HOW);
  return { servers, isTls, ...(login ?? {}) };
}

function loginOf(userinfo: string): Login {
  const at = userinfo.indexOf(":");
  try {
    return at < 0
      ? { token: decodeURIComponent(userinfo) }
      : { user: decodeURIComponent(userinfo.slice(0, at)), pass: decodeURIComponent(userinfo.slice(at + 1)) };
  } catch {
    throw new TributaryError(
      "usage",
      "the login in the NATS address is not percent-encoded",
      "Write % as %25, @ as %40, / as %2F.",
    );
  }
}

/** An address as it may be shown and given to others: without its login, whatever characters the login has, encoded or not. */
export const withoutLogin = (url: string): string =>
  url
    .split(/,(?=\s*[a-z+]+:\/\/)/i)
    .map((part) => part.replace(/^(\s*[a-z+]+:\/\/)?[\s\S]*@/i, "$1"))
    .join(",");

/** The address with this login in it. */
export const withLogin = (url: string, user: string, password: string): string =>
  url.replace(SCHEME, (scheme) => `${scheme}${encodeURIComponent(user)}:${encodeURIComponent(password)}@`);

/** What a client library's connect function is given; `Auth` is its kind of authenticator. */
export interface NatsConnect<Auth> extends Login {
  readonly servers: string[];
  readonly authenticator?: Auth;
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
}

/**
 * Makes options to connect with from an address and settings. The login in the address counts first, then the settings' login, then
 * `otherwise`. `make` turns what only the library can use into its authenticators.
 */
export function natsConnect<Auth>(
  url: string,
  settings: NatsSettings,
  make: { creds(text: Uint8Array): Auth; nkey(seed: Uint8Array): Auth },
  otherwise: Login & { readonly authenticator?: Auth } = {},
): NatsConnect<Auth> {
  const { servers, isTls, ...own } = parseNatsUrl(url);
  const { user, password, token, nkeySeed, creds, ca, cert, key } = settings;
  if ((cert === undefined) !== (key === undefined))
    throw new TributaryError(
      "usage",
      "a client certificate for NATS needs its key, and a key its certificate",
      "Give both files.",
    );
  const ways = [user, token, nkeySeed, creds].filter((way) => way !== undefined).length;
  if (ways > 1)
    throw new TributaryError(
      "usage",
      "more than one login for NATS is given",
      "Give one: user and password, a token, an nkey, or a creds file.",
    );
  if ((user === undefined) !== (password === undefined))
    throw new TributaryError(
      "usage",
      "a NATS user needs a password, and a password its user",
      "Give both, or a token, an nkey or a creds file.",
    );
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text.trim());
  const login =
    Object.keys(own).length > 0
      ? own
      : user !== undefined && password !== undefined
        ? { user, pass: password }
        : token !== undefined
          ? { token }
          : nkeySeed !== undefined
            ? { authenticator: make.nkey(checkedSeed(bytes(nkeySeed), nkeySeed)) }
            : creds !== undefined
              ? { authenticator: make.creds(checkedCreds(creds)) }
              : cert !== undefined
                ? {}
                : otherwise;
  const tls = { ...(ca === undefined ? {} : { ca }), ...(cert === undefined || key === undefined ? {} : { cert, key }) };
  return { servers: [...servers], ...login, ...(isTls || Object.keys(tls).length > 0 ? { tls } : {}) };
}

function checkedSeed(seed: Uint8Array, text: string): Uint8Array {
  if (/^SU[A-Z2-7]{56}$/.test(text.trim())) return seed;
  throw new TributaryError(
    "input-malformed",
    "the nkey for NATS is not a user's seed",
    "A user's seed has 58 characters and begins with SU.",
  );
}

function checkedCreds(text: string): Uint8Array {
  if (/BEGIN NATS USER JWT/.test(text) && /SU[A-Z2-7]{56}/.test(text)) return new TextEncoder().encode(text);
  throw new TributaryError(
    "input-malformed",
    "the creds file for NATS has no user JWT and seed",
    "Give the file that `nsc generate creds` or `nats auth user credential` writes.",
  );
}

/** What a client library says of a failure. */
interface Failure {
  readonly code?: unknown;
  readonly message?: unknown;
  readonly chainedError?: unknown;
}

const UNTRUSTED = [
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_GET_ISSUER_CERT",
];

/**
 * A failed login, a missing right or a failure to agree on TLS, as one of our errors; `null`: another kind of failure. Trying again does not mend these.
 * `who` is what people call the server, for example "the hub's broker".
 */
export function natsRefusal(who: string, error: unknown): TributaryError | null {
  const { code, message, chainedError } = (error ?? {}) as Failure;
  const inner = (chainedError ?? {}) as Failure;
  const codes = [code, inner.code].map(String);
  const text = [message, inner.message].map(String).join(" ");
  const failed = (kind: "login-refused" | "tls-refused", what: string, hint: string): TributaryError =>
    new TributaryError(kind, `${who} ${what}`, hint, { cause: error });
  if (
    codes.some(
      (each) => each === "AUTHORIZATION_VIOLATION" || each === "BAD_AUTHENTICATION" || each === "AUTHENTICATION_EXPIRED",
    ) ||
    /authorization violation|authentication (error|expired)/i.test(text)
  )
    return failed(
      "login-refused",
      "refuses the login",
      "Check user, password or creds. A site's token may be another site's, or have run out, or the token, device or site was revoked, or the hub was restored from a backup older than the device's enrolment: `tributary site add` issues a new token and code.",
    );
  const violated = /permissions violation for (publish|subscription) to "([^"]*)"/i.exec(text);
  if (codes.includes("PERMISSIONS_VIOLATION") || violated !== null)
    return failed(
      "login-refused",
      violated === null
        ? "does not allow this login to do that"
        : `does not allow this login to ${violated[1]!.toLowerCase() === "publish" ? "publish on" : "subscribe to"} ${violated[2]}`,
      "Give its user the rights in docs/production.md; a site's login is good for that site only.",
    );
  if (codes.some((each) => UNTRUSTED.includes(each)))
    return failed(
      "tls-refused",
      "has a certificate of an authority that this machine does not know",
      "Give that authority's certificate with --nats-ca FILE or TRIBUTARY_NATS_CA.",
    );
  if (codes.includes("CERT_HAS_EXPIRED"))
    return failed("tls-refused", "has a certificate that has run out", "Renew it; or check this machine's clock.");
  if (codes.includes("ERR_TLS_CERT_ALTNAME_INVALID"))
    return failed(
      "tls-refused",
      "has a certificate for another name",
      "Use the name that its certificate has, or renew the certificate.",
    );
  if (/certificate required|bad certificate|handshake failure|unknown ca/i.test(text))
    return failed(
      "tls-refused",
      "asks for a client certificate that it knows",
      "Give --nats-cert FILE and --nats-key FILE, or TRIBUTARY_NATS_CERT and TRIBUTARY_NATS_KEY.",
    );
  if (codes.includes("SERVER_OPT_NA") && text.includes("tls"))
    return failed(
      "tls-refused",
      "does not offer TLS, which the address or a certificate asks for",
      "Turn on TLS there, or write nats:// and leave the certificates out.",
    );
  if (codes.some((each) => each === "TLS" || each.startsWith("ERR_SSL") || each.startsWith("ERR_OSSL")))
    return failed(
      "tls-refused",
      "and this machine cannot agree on TLS",
      "Check the certificate files: each is PEM, and the key belongs to the certificate.",
    );
  return null;
}

/** What else may be wrong with a server that does not answer: with TLS 1.3, a server that misses a client certificate just goes silent. */
export const silenceHint = ({ tls }: Pick<NatsConnect<unknown>, "tls">): string =>
  tls !== undefined && tls.cert === undefined
    ? " A server that asks for a client certificate looks like this, too: see --nats-cert, TRIBUTARY_NATS_CERT."
    : "";

/** Replies for a site's devices go to inboxes below this. */
export const inboxPrefix = (org: string, site: string): string => `_INBOX_${org}_${site}`;

/** What a site, or one device of it, may do at a broker that knows logins. */
export function siteRights(
  org: string,
  site: string,
  device: string | null = null,
): { readonly publish: readonly string[]; readonly subscribe: readonly string[] } {
  const below = `${org}.${site}.${device ?? ">"}`;
  return {
    publish: [SUBJECTS.ingress, SUBJECTS.hello, SUBJECTS.pull].map((subject) => `${subject}.${below}`),
    subscribe: [`${SUBJECTS.receipt}.${below}`, `${inboxPrefix(org, site)}.>`],
  };
}

/** An inbox as clients of older versions made it: it names nobody, but nobody else ever listens to such a subject. */
const OLD_INBOX = /^_INBOX\.[A-Za-z0-9]{22}(\.[A-Za-z0-9]{1,64}){0,2}$/;
/** A reply subject that the server itself has put in place of the sender's, where accounts keep sites from the hub. */
const MAPPED_REPLY = /^_R_(\.[A-Za-z0-9]{1,64}){1,4}$/;

/**
 * Whether the hub may answer a message of `<org>.<site>.<device>` at this reply subject. Anything else would let a sender make the hub publish where the sender
 * itself may not: `$JS.API.STREAM.PURGE.DEAD` empties a stream.
 */
export function mayAnswerAt(reply: string, sender: string): boolean {
  const [org = "", site = ""] = sender.split(".");
  if (!isName(org) || !isName(site)) return false;
  const own = `${inboxPrefix(org, site)}.`;
  if (reply.startsWith(own)) return /^[A-Za-z0-9]{1,64}(\.[A-Za-z0-9]{1,64}){0,3}$/.test(reply.slice(own.length));
  return OLD_INBOX.test(reply) || MAPPED_REPLY.test(reply);
}
