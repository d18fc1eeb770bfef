import { connect, credsAuthenticator, type NatsConnection, NatsError, nkeyAuthenticator } from "nats";
import { inboxPrefix, type NatsSettings, natsConnect, natsRefusal, silenceHint, TributaryError } from "../core/index.ts";
import { siteLogin } from "../core/node.ts";
import type { FieldName } from "./store.ts";

/** A satellite's round trip, several times over: TCP, TLS and the broker's own greeting. */
const CONNECT_TIMEOUT_MS = 15_000;
/** A server that reads its logins again, since a site was added, refuses all for some milliseconds: nobody is told so who asks again. */
const LOGIN_TRIES = 3;
const LOGIN_PAUSE_MS = 400;
/** What a device's people know the server as. */
const WHO = "the hub's broker";

/**
 * Connects a device to the hub's broker. Without a login in the address or the settings it logs in with what its token gives. Throws `login-refused` and
 * `tls-refused`, which trying again does not mend, and `backend-unreachable`. No error names an address that only the broker's own network knows.
 */
export async function connectField(
  url: string,
  settings: NatsSettings,
  token: string,
  { org, site }: FieldName,
): Promise<NatsConnection> {
  const options = natsConnect(url, settings, { creds: credsAuthenticator, nkey: nkeyAuthenticator }, siteLogin(token, org, site));
  for (let tries = 1; ; tries++) {
    try {
      return await connect({
        ...options,
        name: "tributary-field",
        inboxPrefix: inboxPrefix(org, site),
        timeout: CONNECT_TIMEOUT_MS,
        // A link that was lost stays so: the sync opens another, and asks first what has arrived.
        reconnect: false,
      });
    } catch (error) {
      const refusal = natsRefusal(WHO, error);
      if (refusal?.code !== "login-refused" || tries >= LOGIN_TRIES)
        throw refusal ?? brokerAway(`${WHO} at ${options.servers.join(", ")} does not answer`, error, silenceHint(options));
      await new Promise((resolve) => setTimeout(resolve, LOGIN_PAUSE_MS));
    }
  }
}

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

/** Why, in the client's short code; its messages name the addresses that servers know each other by. */
function reasonOf(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown };
  if (error instanceof NatsError && error.code === "503") return "no answer";
  return typeof code === "string" && /^[A-Z_]{3,40}$/.test(code) ? code.toLowerCase().replaceAll("_", " ") : "no link";
}
