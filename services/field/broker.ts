import { type Authenticator, connect, credsAuthenticator, type NatsConnection, NatsError, nkeyAuthenticator } from "nats";
import { inboxPrefix, isTributaryError, natsConnect, natsRefusal, silenceHint, TributaryError } from "../core/index.ts";
import { siteLogin, unlessOtherKind } from "../core/node.ts";
import { otherServer, type TransportOptions, whatIsThere } from "./way.ts";

/** Time for several round trips over a satellite: TCP, TLS and the broker's own greeting. */
const CONNECT_TIMEOUT_MS = 15_000;
/** Over a satellite a broker is there by then; one that is not may be a server of another kind. */
const LATE_MS = 4_000;
/** A server that reads its logins again, because a site was added, refuses everybody for some milliseconds. Asking again hides that from the user. */
const LOGIN_TRIES = 3;
const LOGIN_PAUSE_MS = 400;
/** What a device's users call the server. */
const WHO = "the hub's broker";
/** A server of another kind is silent, too: it waits to be asked. */
const OTHER_KIND =
  " Check the address, too: nats:// and tls:// are for the port of a NATS server; a hub's HTTP door is written http:// or https://.";

/**
 * Connects a device to the hub's broker. If neither the address nor the settings have a login, it logs in with its token, its one-time code, or its own key if
 * that is enrolled; the login that worked last is tried first. Throws `login-refused` and `tls-refused`, which trying again does not mend, and
 * `backend-unreachable`. No error names an address that only the broker's own network knows.
 */
export async function connectField(options: TransportOptions): Promise<NatsConnection> {
  const { url, nats = {}, identity } = options;
  const make = { creds: credsAuthenticator, nkey: nkeyAuthenticator };
  const ways = loginsOf(options).map(({ byKey, login }) => ({ byKey, connectTo: natsConnect(url, nats, make, login) }));
  // A login that is given is the one to use.
  const isGiven = natsConnect<Authenticator | null>(url, nats, make, { authenticator: null }).authenticator !== null;
  const tried = isGiven ? ways.slice(0, 1) : ways;
  for (let tries = 1; ; tries++) {
    for (const [i, { byKey, connectTo }] of tried.entries()) {
      try {
        const nc = await unlessOtherKind(
          connectOnce(connectTo, options),
          {
            ask: () => otherServers(connectTo.servers),
            // Where there is no server, there is none to ask.
            isAnswer: (error) => natsRefusal(WHO, error) !== null || whatIsThere(error) === "nothing",
            lateMs: LATE_MS,
          },
          (late) => late.close(),
        );
        for (const server of connectTo.servers) proven.add(server);
        if (!isGiven) identity.noteLogin(byKey);
        return nc;
      } catch (error) {
        if (isTributaryError(error)) throw error;
        const refusal = natsRefusal(WHO, error);
        const isLast = tries >= LOGIN_TRIES && i === tried.length - 1;
        if (refusal?.code !== "login-refused" || isLast)
          throw (
            refusal ??
            brokerAway(
              `${WHO} at ${connectTo.servers.join(", ")} does not answer`,
              error,
              `${silenceHint(connectTo)}${OTHER_KIND}`,
            )
          );
      }
    }
    await new Promise((resolve) => setTimeout(resolve, LOGIN_PAUSE_MS));
  }
}

/** The servers that this process has spoken NATS with: a bad link to them is only a bad link. */
const proven = new Set<string>();

/** The error where none of the servers is a NATS server; `null`: one is, or nothing is known of one. */
async function otherServers(servers: readonly string[]): Promise<TributaryError | null> {
  if (servers.some((server) => proven.has(server))) return null;
  const others = await Promise.all(servers.map((server) => otherServer(server, "nats")));
  return others.includes(null) ? null : (others[0] ?? null);
}

interface OwnLogin {
  readonly byKey: boolean;
  readonly login: { readonly user?: string; readonly pass?: string; readonly authenticator?: Authenticator };
}

/** The logins that a device has by itself, likeliest first. */
function loginsOf({ token, code, identity, name: { org, site } }: TransportOptions): readonly OwnLogin[] {
  const secrets = [token, code].flatMap((secret) =>
    secret === undefined ? [] : [{ byKey: false, login: siteLogin(secret, org, site) }],
  );
  const keys = identity.logins.map((authenticator) => ({ byKey: true, login: { authenticator } }));
  return identity.isKnownThere ? [...keys, ...secrets] : [...secrets, ...keys];
}

const connectOnce = (
  connectTo: ReturnType<typeof natsConnect<Authenticator>>,
  { name: { org, site } }: TransportOptions,
): Promise<NatsConnection> =>
  connect({
    ...connectTo,
    name: "tributary-field",
    inboxPrefix: inboxPrefix(org, site),
    timeout: CONNECT_TIMEOUT_MS,
    // A link that was lost stays lost: the sync opens another, and first asks what has arrived.
    reconnect: false,
  });

/** A failure of a call to the broker. */
export const brokerFailure = (what: string, error: unknown): TributaryError => natsRefusal(WHO, error) ?? brokerAway(what, error);

function brokerAway(what: string, error: unknown, more = ""): TributaryError {
  return new TributaryError(
    "backend-unreachable",
    `${what} (${reasonOf(error)})`,
    `The events are safe on this device; sync again when there is a link.${more}`,
    {
      cause: error,
    },
  );
}

/** Why a call failed, as the client's short code. Its messages are not shown: they name the addresses that servers know each other by. */
function reasonOf(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown };
  if (error instanceof NatsError && error.code === "503") return "no answer";
  return typeof code === "string" && /^[A-Z_]{3,40}$/.test(code) ? code.toLowerCase().replaceAll("_", " ") : "no link";
}
