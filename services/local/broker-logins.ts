import { createHash, randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isName, SUBJECTS, siteRights, TributaryError } from "../core/index.ts";
import { makeFolder } from "../core/node.ts";
import { signalServer } from "./process.ts";

/**
 * Who may log in at the broker that the hub starts. Two accounts stand in its configuration: HUB has the streams, and SITES has a user for each site's token (or
 * key). A site reaches the hub only through what SITES imports: so it can publish on its own subjects and receive its own receipts, and has no JetStream. The server
 * answers a site through a subject of the server's own, so nothing is ever published in the hub's account on a reply subject that a site chose.
 * (With rights alone, in one account, a batch sent with the reply subject `$JS.API.STREAM.PURGE.DEAD` empties that stream: the acknowledgement does it.)
 *
 *   admitted (a file in nats-logins/) ─▶ in the configuration ─▶ known to the server ── runs out, or is withdrawn ─▶ removed, its connections closed
 */

/** A site's login: the user and password that its token or a one-time code gives, or a device's key as an nkey. */
export type SiteLogin = {
  readonly org: string;
  readonly site: string;
  readonly device: string | null;
  readonly expiresAtMs: number;
  /** What the login comes from: it ends when the token is revoked, the code is used, or the key is replaced. */
  readonly right?: { readonly token: string; readonly issuedAtS: number } | { readonly code: string } | { readonly key: string };
} & (
  | { readonly kind: "password"; readonly user: string; readonly pass: string }
  | { readonly kind: "nkey"; readonly nkey: string }
);

const HUB_USER = "hub";
/** A login that may do nothing. Its password follows from all other logins: a server that accepts it has read exactly these. No site can have this user's name, because theirs have dots. */
const MARK_USER = "as-of";
/** How long the server may take to read its configuration again. Usually it takes some milliseconds. */
const RELOAD_TIMEOUT_MS = 10_000;
const RELOAD_LOOK_MS = 50;
const PROBE_TIMEOUT_MS = 2_000;

const loginsDir = (dataDir: string): string => join(dataDir, "nats-logins");
const nameOfLogin = (login: SiteLogin): string => (login.kind === "password" ? login.user : login.nkey);

/** The hub's own login at its broker, made once and kept in the data folder. The password begins with a letter: nats.js takes digits after a colon for a port. */
export function hubLogin(dataDir: string): { readonly user: string; readonly password: string } {
  const file = join(dataDir, "nats.password");
  if (!existsSync(file)) writeWhole(file, `h${randomBytes(24).toString("base64url")}`);
  return { user: HUB_USER, password: readFileSync(file, "utf8").trim() };
}

/**
 * What streams may reserve together; each has a bound of its own. By default the server takes three quarters of what is free on the disk when it starts. A
 * server that was started again while the disk was full would then refuse its streams for good.
 */
const MAX_STORE = "1TB";

/** The server's configuration: an address, JetStream, and the accounts, which stand in a file of their own so that they can change under a running server. */
export function brokerConfig(options: {
  readonly host: string;
  readonly port: number;
  readonly store: string;
  readonly accounts: string;
  readonly more?: string;
}): string {
  const { host, port, store, accounts, more = "" } = options;
  return `host: ${JSON.stringify(host)}\nport: ${port}\njetstream {\n  store_dir: ${JSON.stringify(store)}\n  max_file_store: ${MAX_STORE}\n${more}}\ninclude ${JSON.stringify(accounts)}\n`;
}

/** Writes the accounts as they stand into `nats/accounts.conf` of the data folder. Logins that ran out are left out, and forgotten. */
export function writeAccounts(dataDir: string, nowMs = Date.now()): void {
  makeFolder(join(dataDir, "nats"), 0o700);
  takeUpLogins(dataDir);
  // Another process may write at the same time. The one that writes last has also read last.
  for (let before: string | null = null; ; ) {
    const text = accountsText(hubLogin(dataDir), currentLogins(dataDir, nowMs));
    if (text === before) return;
    writeWhole(join(dataDir, "nats", "accounts.conf"), text);
    before = text;
  }
}

const quoted = (list: readonly string[]): string => `[${list.map((each) => JSON.stringify(each)).join(", ")}]`;

/** A login as a line of a server's configuration. */
export function userLine(login: SiteLogin): string {
  const { publish, subscribe } = siteRights(login.org, login.site, login.device);
  const who =
    login.kind === "password"
      ? `user: ${JSON.stringify(login.user)}, password: ${JSON.stringify(login.pass)}`
      : `nkey: ${login.nkey}`;
  return `{ ${who}, permissions: { publish: { allow: ${quoted(publish)} }, subscribe: { allow: ${quoted(subscribe)} } } }`;
}

export function accountsText(hub: { readonly user: string; readonly password: string }, logins: readonly SiteLogin[]): string {
  const mark = createHash("sha256")
    .update(JSON.stringify([hub, logins.map(userLine)]))
    .digest("base64url");
  const subjects = [SUBJECTS.ingress, SUBJECTS.hello, SUBJECTS.pull].map((subject) => `${subject}.>`);
  const users = logins.map((login) => `      ${userLine(login)}\n`);
  return `accounts {
  HUB {
    jetstream: enabled
    users: [ { user: ${JSON.stringify(hub.user)}, password: ${JSON.stringify(hub.password)} } ]
    exports: [ ${subjects.map((subject) => `{ service: "${subject}" }`).join(", ")}, { stream: "${SUBJECTS.receipt}.>" } ]
  }
  SITES {
    users: [
      { user: ${MARK_USER}, password: "m${mark}", permissions: { publish: { deny: ">" }, subscribe: { deny: ">" } } }
${users.join("")}    ]
    imports: [
${subjects.map((subject) => `      { service: { account: HUB, subject: "${subject}" } }\n`).join("")}      { stream: { account: HUB, subject: "${SUBJECTS.receipt}.>" } }
    ]
  }
}
`;
}

function currentLogins(dataDir: string, nowMs: number): SiteLogin[] {
  const dir = loginsDir(dataDir);
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .filter((name) => name.endsWith(".json"))
    .sort()
    .flatMap((name): SiteLogin[] => {
      const file = join(dir, name);
      const login = readLogin(file);
      if (login !== null && login.expiresAtMs > nowMs) return [login];
      if (login !== null) rmSync(file, { force: true });
      return [];
    });
}

/** All valid logins as one text, for a backup; `null`: there are none. */
export function keptLogins(dataDir: string): string | null {
  const logins = currentLogins(dataDir, Date.now());
  return logins.length === 0 ? null : JSON.stringify(logins, null, 2);
}

/** Where a restore puts that text: the next start of the broker takes it up. */
export const LOGINS_FILE = "nats-logins.json";

function takeUpLogins(dataDir: string): void {
  const file = join(dataDir, LOGINS_FILE);
  if (!existsSync(file)) return;
  makeFolder(loginsDir(dataDir), 0o700);
  const kept: unknown = JSON.parse(readFileSync(file, "utf8"));
  // Each login is checked before it is used.
  for (const login of Array.isArray(kept) ? (kept as SiteLogin[]) : []) {
    checkLogin(login);
    writeWhole(join(loginsDir(dataDir), `${nameOfLogin(login)}.json`), JSON.stringify(login));
  }
  rmSync(file);
}

/** A login from its file; `null` if the file has just been removed. Its content goes into the server's configuration, so it is checked first. */
function readLogin(file: string): SiteLogin | null {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    return null;
  }
  try {
    const login = JSON.parse(text) as SiteLogin;
    checkLogin(login);
    return login;
  } catch (error) {
    throw new TributaryError(
      "data-corrupt",
      `${file} is not a login`,
      "Remove it, and issue the site a new token with `tributary site add`.",
      { cause: error },
    );
  }
}

function checkLogin(login: SiteLogin): void {
  const isWell =
    isName(login.org) &&
    isName(login.site) &&
    (login.device === null || isName(login.device)) &&
    Number.isFinite(login.expiresAtMs) &&
    (login.kind === "password"
      ? /^[\w.-]{1,200}$/.test(login.user) && /^[\w-]{20,200}$/.test(login.pass)
      : /^U[A-Z2-7]{55}$/.test(login.nkey));
  if (!isWell)
    throw new TributaryError(
      "input-malformed",
      "that is not a login for a site",
      "Use what `siteLogin` gives, or a user's public nkey.",
    );
}

/** Whether this data folder's hub has a broker of its own now. */
export const hasOwnBroker = (dataDir: string): boolean => existsSync(join(dataDir, "nats.pid"));

/**
 * Lets a site log in at the hub's own broker from now on, through restarts, until the login runs out. Resolves when the server knows it; a hub that is not running
 * learns it when it starts. Other connections stay.
 */
export async function admitSite(dataDir: string, login: SiteLogin): Promise<void> {
  checkLogin(login);
  makeFolder(loginsDir(dataDir), 0o700);
  writeWhole(join(loginsDir(dataDir), `${nameOfLogin(login)}.json`), JSON.stringify(login));
  if (hasOwnBroker(dataDir)) await reload(dataDir);
}

/** Withdraws logins, and closes the connections that were made with them. Returns how many logins there were. */
export async function withdrawSites(dataDir: string, isMeant: (login: SiteLogin) => boolean): Promise<number> {
  const gone = currentLogins(dataDir, Date.now()).filter(isMeant);
  for (const login of gone) rmSync(join(loginsDir(dataDir), `${nameOfLogin(login)}.json`), { force: true });
  if (gone.length > 0 && hasOwnBroker(dataDir)) await reload(dataDir);
  return gone.length;
}

/**
 * Brings the logins in line with what they are derived from: those that are no longer valid are removed and their connections closed, and those that are missing are added.
 * Logins that have run out are removed as well. Returns how many were added and removed.
 */
export async function alignLogins(
  dataDir: string,
  wanted: readonly SiteLogin[],
  stands: (login: SiteLogin) => boolean,
): Promise<{ readonly came: number; readonly went: number }> {
  const dir = loginsDir(dataDir);
  makeFolder(dir, 0o700);
  const known = new Map(currentLogins(dataDir, Date.now()).map((login) => [nameOfLogin(login), JSON.stringify(login)]));
  const gone = currentLogins(dataDir, Date.now()).filter((login) => !stands(login));
  for (const login of gone) rmSync(join(dir, `${nameOfLogin(login)}.json`), { force: true });
  const fresh = wanted.filter((login) => known.get(nameOfLogin(login)) !== JSON.stringify(login));
  for (const login of fresh) {
    checkLogin(login);
    writeWhole(join(dir, `${nameOfLogin(login)}.json`), JSON.stringify(login));
  }
  if (hasOwnBroker(dataDir)) {
    writeAccounts(dataDir);
    if ((await isCurrent(dataDir)) === false) await reload(dataDir);
  }
  return { came: fresh.length, went: gone.length };
}

/** Makes the server read its configuration again, and waits until it has. */
async function reload(dataDir: string): Promise<void> {
  writeAccounts(dataDir);
  await signalServer(dataDir, "nats", "SIGHUP");
  for (
    const until = Date.now() + RELOAD_TIMEOUT_MS;
    Date.now() < until;
    await new Promise((resolve) => setTimeout(resolve, RELOAD_LOOK_MS))
  ) {
    // A server that is just starting reads the configuration anyway.
    if ((await isCurrent(dataDir)) !== false) return;
  }
  throw new TributaryError(
    "backend-failed",
    "the hub's NATS did not take the new logins",
    "See logs/nats.log in the hub's folder; start the hub again.",
  );
}

/** Whether the running server has read the accounts as they are written; `null`: nobody answers. */
async function isCurrent(dataDir: string): Promise<boolean | null> {
  const port = portOf(dataDir);
  const mark = new RegExp(`user: ${MARK_USER}, password: "([^"]+)"`).exec(
    readFileSync(join(dataDir, "nats", "accounts.conf"), "utf8"),
  )?.[1];
  return port === null || mark === undefined ? null : logsIn(port, MARK_USER, mark);
}

/** Whether the server accepts a login; `null`: nobody answers. */
async function logsIn(port: number, user: string, pass: string): Promise<boolean | null> {
  const { connect, NatsError } = await import("nats");
  try {
    const nc = await connect({ servers: `127.0.0.1:${port}`, user, pass, reconnect: false, timeout: PROBE_TIMEOUT_MS });
    await nc.close();
    return true;
  } catch (error) {
    return error instanceof NatsError && error.code === "AUTHORIZATION_VIOLATION" ? false : null;
  }
}

function portOf(dataDir: string): number | null {
  const file = join(dataDir, "nats.port");
  return existsSync(file) ? Number(readFileSync(file, "utf8")) : null;
}

/** Notes the port that the hub's broker listens on, for processes that make it read its configuration again. */
export const notePort = (dataDir: string, port: number): void => writeWhole(join(dataDir, "nats.port"), String(port));

/**
 * Moves the streams of a broker from before there were logins, which kept them in the server's default account, into the hub's account: batches that wait there are
 * taken, and dead letters can still be read.
 */
export function adoptStreams(store: string): void {
  const [from, to] = [join(store, "jetstream", "$G"), join(store, "jetstream", "HUB")];
  if (existsSync(from) && !existsSync(to)) renameSync(from, to);
}

/** Writes a secret file completely or not at all, readable for this user only. */
function writeWhole(file: string, text: string): void {
  const fresh = `${file}.${process.pid}.new`;
  writeFileSync(fresh, text, { mode: 0o600 });
  renameSync(fresh, file);
}
