import { messageOf, TributaryError, withoutLogin } from "../core/index.ts";

/** The schemes under which EventStoreDB's and KurrentDB's documentation writes the same address; the client knows the first of each. */
const SCHEMES: readonly (readonly [RegExp, string])[] = [
  [/^(esdb|kurrentdb|kurrent|kdb):\/\//i, "esdb://"],
  [/^(esdb|kurrentdb|kurrent|kdb)\+discover:\/\//i, "esdb+discover://"],
];
const PREFERENCE = /([?&])node_?preference=([^&]*)/i;

export interface LogAddress {
  /** The address for all calls that must see what was written before: the leader's, whatever the given address prefers. */
  readonly leader: string;
  /** The address for following the log, which may be some moments behind: as the given address prefers; `null`: the leader's. */
  readonly follower: string | null;
}

/**
 * Reads an event store's address. Appends and the reads that go with them ask the leader: a follower lags, and then the hub would not find what it has just written.
 * Another `nodePreference` counts for following the log, which is most of what is read.
 */
export function logAddress(url: string): LogAddress {
  const trimmed = url.trim();
  const known = SCHEMES.find(([scheme]) => scheme.test(trimmed));
  // The client would take what stands between two @ for a part of the host, and name it in its failures.
  if (known === undefined || (trimmed.split("?")[0] ?? "").split("@").length > 2) throw malformed(url, "");
  const address = trimmed.replace(known[0], known[1]);
  const preference = PREFERENCE.exec(address)?.[2]?.toLowerCase();
  if (preference === undefined || preference === "leader") return { leader: address, follower: null };
  return { leader: address.replace(PREFERENCE, "$1nodePreference=leader"), follower: address };
}

/** The failure for an address that the client cannot use. The client's own words may repeat a part of the address, perhaps a password, and are left out. */
export function addressProblem(url: string, error: unknown): TributaryError {
  const words = messageOf(error);
  const file = /certificate (key )?file\. File was not found/i.exec(words);
  if (file !== null)
    return new TributaryError(
      "not-found",
      `a certificate file that the event store's address names is not there (${/tlsCAFile/i.test(url) ? "tlsCAFile" : "userCertFile, userKeyFile"})`,
      "Give the file's whole path, as the hub's process sees it; in a container, mount it.",
      { cause: error },
    );
  return malformed(url, /expected (.{1,80})$/s.exec(words)?.[1] ?? "");
}

function malformed(url: string, expected: string): TributaryError {
  return new TributaryError(
    "usage",
    `${JSON.stringify(withoutLogin(url))} is not an event store address${expected === "" ? "" : `: expected ${expected}`}`,
    "Write it like esdb://127.0.0.1:2113?tls=false, or kurrentdb://user:password@one:2113,two:2113,three:2113?tls=true. A @ or / in a password is written %40, %2F.",
  );
}
