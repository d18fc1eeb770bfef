import { userInfo } from "node:os";
import { isJsonObject, nameOf, TributaryError } from "../core/index.ts";
import { OVERLAP_HOURS, personName } from "../http/index.ts";
import type { Command, Input } from "./args.ts";
import {
  deviceName,
  listDevices,
  listHubKeys,
  retireHubKey,
  revokeDevice,
  revokePerson,
  revokeSite,
  revokeToken,
  rotateHubKey,
  withKeyBook,
} from "./hub-keys.ts";
import { hubRing } from "./keys.ts";
import { withdrawRevoked } from "./logins.ts";
import { table } from "./output.ts";
import { hubDir } from "./paths.ts";
import { runningHub } from "./reach.ts";
import { secretGiven } from "./tokens.ts";

const DATA = { data: { type: "string" } } as const;
const WHY = { ...DATA, reason: { type: "string" } } as const;
const actor = (): string => userInfo().username;

function named(positionals: readonly string[], what: string, usage: string): string {
  const [name] = positionals;
  if (name === undefined || name === "") throw new TributaryError("usage", `${what} is missing`, `Use: ${usage}`);
  return name;
}

export const deviceList: Command = {
  name: "device list",
  summary: "show devices, their keys, and forks that were found",
  usage: "tributary device list [--data DIR]",
  help: `From a device that has a key, the hub believes only what that key has signed. A fork is two different events with one seq, both signed by the device's key. The
one that came first holds; --json has both signed heads.`,
  maxPositionals: 0,
  options: DATA,
  async run({ text, out }) {
    const dir = hubDir(text("data"));
    const rows = await withKeyBook(dir, await runningHub(text("data"), ["eventstore"]), (book, _, journal) =>
      listDevices(book, journal),
    );
    out.result(rows);
    out.line(
      table(
        ["device", "state", "key", "enrolled by", "may write about", "since", "revoked", "keys before", "forks"],
        rows.map((r) => [
          r.device,
          r.state,
          r.key?.slice(0, 12) ?? "",
          r.how ?? "",
          r.key === null ? "" : (r.types?.join(", ") ?? "all"),
          r.enrolledAt ?? "",
          r.revokedAt ?? "",
          r.earlierKeys,
          r.forks.length,
        ]),
      ),
    );
    return 0;
  },
};

export const deviceRevoke: Command = {
  name: "device revoke",
  summary: "refuse a device from now on, because it or its key was lost",
  usage: "tributary device revoke SITE/DEVICE [--reason TEXT] [--data DIR]",
  help: `Takes effect within seconds, also while the device syncs. The token under which it enrolled is revoked too, because the device has it; other devices that enrolled
under that token are not affected. The hub's own broker withdraws its logins and closes its connections. The tablet that replaces it enrols with its own code: \`tributary site add SITE --device NAME\`.

  tributary device revoke juba/tablet-1 --reason "left in a taxi"`,
  maxPositionals: 1,
  options: WHY,
  async run({ positionals, text, out }) {
    const given = named(positionals, "the device's name", deviceRevoke.usage);
    const dir = hubDir(text("data"));
    const state = await runningHub(text("data"), ["eventstore"]);
    const device = deviceName(given, state.org);
    const done = await withKeyBook(dir, state, async (book) => {
      const revoked = await revokeDevice(book, device, actor(), text("reason"));
      return { ...revoked, loginsWithdrawn: await withdrawRevoked(dir, book.record) };
    });
    out.result(done);
    out.line(`${device} is revoked.${done.jti === null ? "" : " The token that it enrolled under is, too."}`);
    return 0;
  },
};

export const siteRevoke: Command = {
  name: "site revoke",
  summary: "refuse a site from now on: its tokens, codes and devices",
  usage: "tributary site revoke NAME [--org NAME] [--reason TEXT] [--data DIR]",
  help: "Takes effect within seconds. The hub's own broker withdraws the site's logins. What the site has sent stays in the log. `tributary site add` lets it in again, with new tokens and codes.",
  maxPositionals: 1,
  options: { ...WHY, org: { type: "string" } },
  async run({ positionals, text, out }) {
    const given = named(positionals, "the site's name", siteRevoke.usage);
    const dir = hubDir(text("data"));
    const state = await runningHub(text("data"), ["eventstore"]);
    const site = `${nameOf("organisation", text("org") ?? state.org)}.${nameOf("site", given)}`;
    const devices = await withKeyBook(dir, state, async (book) => {
      const revoked = await revokeSite(book, site, actor(), text("reason"));
      await withdrawRevoked(dir, book.record);
      return revoked;
    });
    out.result({ site, devices });
    out.line(
      devices.length === 0
        ? `${site} is revoked. No device of it is enrolled; if you expected some, check the name with \`tributary device list\`.`
        : `${site} is revoked, with its enrolled devices: ${devices.join(", ")}.`,
    );
    return 0;
  },
};

export const tokenRevoke: Command = {
  name: "token revoke",
  summary: "refuse a token from now on",
  usage: "tributary token revoke [TOKEN|@FILE|JTI] [--person NAME] [--issuer URL] [--reason TEXT] [--data DIR]",
  help: `Give the token itself or its id (\`jti\`). Takes effect within seconds; the hub's own broker withdraws its login. Devices that have enrolled their keys meanwhile are not affected.

  --person  refuse all of a person's tokens that were issued up to now, those of the hub and of every provider; a token that is issued later counts. NAME is
            what the token has as its subject. Somebody who must stay outside must be locked at the provider too
  --issuer  only those of one issuer: a provider's, or \`tributary\` for the hub's own

  tributary token revoke --person amina --reason "left the team"`,
  maxPositionals: 1,
  options: { ...WHY, person: { type: "string" }, issuer: { type: "string" } },
  async run(input) {
    const { positionals, text, out } = input;
    const person = text("person");
    if (person !== undefined) return personRevoke(person, input);
    if (text("issuer") !== undefined || text("reason") !== undefined)
      throw new TributaryError("usage", "--issuer and --reason go with --person", `Use: ${tokenRevoke.usage}`);
    const given = named(positionals, "the token", tokenRevoke.usage);
    const jti = jtiOf(secretGiven(given));
    const dir = hubDir(text("data"));
    await withKeyBook(dir, await runningHub(text("data"), ["eventstore"]), async (book) => {
      await revokeToken(book, jti, actor());
      await withdrawRevoked(dir, book.record);
    });
    out.result({ jti });
    out.line(`The token ${jti} is revoked.`);
    return 0;
  },
};

async function personRevoke(person: string, { positionals, text, out }: Input): Promise<number> {
  if (positionals.length > 0)
    throw new TributaryError("usage", "a token and --person were both given", `Use: ${tokenRevoke.usage}`);
  const subject = personName(person);
  const [issuer, reason] = [text("issuer"), text("reason")];
  const dir = hubDir(text("data"));
  const throughS = await withKeyBook(dir, await runningHub(text("data"), ["eventstore"]), (book) =>
    revokePerson(book, {
      ...{ subject, actor: actor() },
      ...(issuer === undefined ? {} : { issuer }),
      ...(reason === undefined ? {} : { reason }),
    }),
  );
  const through = new Date(throughS * 1000).toISOString();
  out.result({ person: subject, issuer: issuer ?? null, issuedThrough: through });
  out.line(
    `Tokens of ${subject} that were issued up to ${through} are refused${issuer === undefined ? "" : `, where ${issuer} issued them`}.`,
  );
  return 0;
}

/** A token's id, as the hub makes them. */
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

function jtiOf(given: string): string {
  if (UUID.test(given)) return given;
  try {
    const payload: unknown = JSON.parse(Buffer.from(given.split(".")[1] ?? "", "base64url").toString());
    if (isJsonObject(payload) && typeof payload.jti === "string") return payload.jti;
  } catch {
    // The error below says so.
  }
  throw new TributaryError("input-malformed", "that is not a token of this hub", "Give the whole token, @file, or its jti.");
}

export const keyList: Command = {
  name: "key list",
  summary: "show the hub's own keys",
  usage: "tributary key list [--data DIR]",
  help: "Shows which key signs the hub's answers and tokens, which comes next, and which only let older tokens in.",
  maxPositionals: 0,
  options: DATA,
  async run({ text, out }) {
    const dir = hubDir(text("data"));
    const rows = listHubKeys(dir, await hubRing(dir));
    out.result(rows);
    out.line(
      table(
        ["key", "name", "state", "signs from", "retired"],
        rows.map((r) => [r.kid.slice(0, 12), r.name, r.state, r.signsFrom ?? "", r.retiredAt ?? ""]),
      ),
    );
    return 0;
  },
};

/** A year: a device that is away longer finds the next key by the present key's signature. */
const MAX_OVERLAP_HOURS = 8_784;

export const keyRotate: Command = {
  name: "key rotate",
  summary: "make the hub's next key",
  usage: "tributary key rotate [--after HOURS] [--data DIR]",
  help: `The hub's answers announce the next key, and the present key signs that it follows. After --after hours (default ${OVERLAP_HOURS}) the next key signs. Devices that were away
all the time find it by that signature. Tokens of the old key are taken until they expire, or until \`tributary key retire\` drops it. All processes of the hub
notice the change within seconds.`,
  maxPositionals: 0,
  options: { ...DATA, after: { type: "string" } },
  async run({ text, number, out }) {
    const dir = hubDir(text("data"));
    const hours = number("after", OVERLAP_HOURS, { least: 0, most: MAX_OVERLAP_HOURS });
    const key = await withKeyBook(dir, await runningHub(text("data"), ["eventstore"]), (book) =>
      rotateHubKey(dir, book, actor(), hours),
    );
    out.result(key);
    out.line(`The next key is ${key.kid} (${key.name}); it signs from ${key.signsFrom}. Back up signing-key.json.`);
    return 0;
  },
};

export const keyRetire: Command = {
  name: "key retire",
  summary: "drop one of the hub's keys",
  usage: "tributary key retire KEY [--data DIR]",
  help: "Give its name or the beginning of its thumbprint. The hub erases its private part and refuses tokens that it signed. The key that signs now cannot be retired.",
  maxPositionals: 1,
  options: DATA,
  async run({ positionals, text, out }) {
    const name = named(positionals, "the key", keyRetire.usage);
    const dir = hubDir(text("data"));
    const kid = await withKeyBook(dir, await runningHub(text("data"), ["eventstore"]), (book) =>
      retireHubKey(dir, book, name, actor()),
    );
    out.result({ kid });
    out.line(`The key ${kid} is retired.`);
    return 0;
  },
};
