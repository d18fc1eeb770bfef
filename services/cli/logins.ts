import { HUB_SITE, KEY_OVERLAP_MS, type KeyRecord, keysAt, MAX_WALL_MS, messageOf } from "../core/index.ts";
import { nkeyOf } from "../core/node.ts";
import { alignLogins, type SiteLogin } from "../local/index.ts";
import { openKeyBook, openLog } from "../log/index.ts";

/** Logins also run out by the clock; this is how often expired ones are looked for. */
const LOOK_MS = 30_000;
/** The hub answers a code over the connection on which it was used: on a slow link the answer takes its time. */
const USED_CODE_MS = 30_000;
const RETRY_MS = 2_000;

/** Each enrolled key of a device is a login at the hub's own broker, good for that device alone. */
export function keyLogins(record: KeyRecord, nowMs: number): SiteLogin[] {
  return record.devices().flatMap((device) => {
    const [org = "", site = "", name = ""] = device.split(".");
    // The hub's own people write with the hub's login.
    if (site === HUB_SITE) return [];
    return keysAt(record, device, nowMs).map(
      ({ key, kid, ended }): SiteLogin => ({
        kind: "nkey",
        nkey: nkeyOf(key),
        ...{ org, site, device: name, expiresAtMs: ended === null ? MAX_WALL_MS : ended.atMs + KEY_OVERLAP_MS },
        right: { key: kid },
      }),
    );
  });
}

/** Whether the right that a login was given for still holds, according to the book of keys. */
export function loginStands(record: KeyRecord, { org, site, device, right }: SiteLogin, nowMs: number): boolean {
  const revocation = record.revocationOf(`${org}.${site}`);
  if (right === undefined) return revocation === null;
  if ("token" in right)
    return !record.isTokenRevoked(right.token) && (revocation === null || right.issuedAtS > revocation.issuedThroughS);
  // A code that is not in the book yet was issued a moment ago.
  if ("code" in right) {
    const code = record.code(right.code);
    return code?.isUsed !== true || (code.usedAtMs !== null && nowMs < code.usedAtMs + USED_CODE_MS);
  }
  return device !== null && keysAt(record, `${org}.${site}.${device}`, nowMs).some(({ kid }) => kid === right.key);
}

/**
 * The same for a command, which reads the book once and does not follow it: a key that it has not read was enrolled since. Its login is left to the hub, which
 * has admitted it and follows the book.
 */
function mayStand(record: KeyRecord, login: SiteLogin, nowMs: number): boolean {
  const { org, site, device, right } = login;
  const isNewer =
    right !== undefined &&
    "key" in right &&
    device !== null &&
    record.keysOf(`${org}.${site}.${device}`).every(({ kid }) => kid !== right.key);
  return isNewer || loginStands(record, login, nowMs);
}

/** The right that a token of this hub gives. */
export function rightOfToken(token: string): { readonly token: string; readonly issuedAtS: number } {
  const { jti, iat } = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as { jti: string; iat: number };
  return { token: jti, issuedAtS: iat };
}

/** Lets in the logins that were just issued. */
export async function admitNew(dataDir: string, record: KeyRecord, logins: readonly SiteLogin[]): Promise<void> {
  const nowMs = Date.now();
  await alignLogins(dataDir, logins, (login) => mayStand(record, login, nowMs));
}

/** Takes away at once the logins whose right was revoked. */
export async function withdrawRevoked(dataDir: string, record: KeyRecord): Promise<number> {
  const nowMs = Date.now();
  return (await alignLogins(dataDir, [], (login) => mayStand(record, login, nowMs))).went;
}

/** Keeps the logins at the hub's own broker in line with the book of keys, whoever writes the book: the hub's door when a device enrols, or a command that revokes. */
export async function followLogins(
  dataDir: string,
  eventstoreUrl: string,
  say: (line: string) => void,
): Promise<{ close(): Promise<void> }> {
  const log = openLog(eventstoreUrl);
  const stop = new AbortController();
  let ring: () => void = () => {};
  let isNews = true;
  let said = "";
  const book = await openKeyBook(log.journal, {
    follow: true,
    patient: true,
    onFact: () => {
      isNews = true;
      ring();
    },
  }).catch(async (error: unknown) => {
    await log.close();
    throw error;
  });
  const wait = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      ring = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  const align = (): Promise<unknown> => {
    const nowMs = Date.now();
    const { record } = book;
    return alignLogins(dataDir, keyLogins(record, nowMs), (login) => loginStands(record, login, nowMs));
  };
  const run = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      isNews = false;
      try {
        // Nobody's login is taken away because the book could not be read yet.
        if (book.isRead) await align();
        said = "";
        if (!isNews && !stop.signal.aborted) await wait(book.isRead ? LOOK_MS : RETRY_MS);
      } catch (error) {
        const words = `The broker's logins could not be brought up to date (${messageOf(error)}); trying again.`;
        if (words !== said) say(words);
        said = words;
        if (!stop.signal.aborted) await wait(RETRY_MS);
      }
    }
  };
  const running = run();
  return {
    async close() {
      stop.abort();
      ring();
      await running;
      book.close();
      await log.close();
    },
  };
}
