import { closeSync, existsSync, fsyncSync, openSync, statSync, writeSync } from "node:fs";
import { userInfo } from "node:os";
import { isJsonObject, isNatsUrl, type JsonObject, messageOf, type NatsSettings, TributaryError } from "../core/index.ts";
import {
  type AsideNote,
  type Field,
  openField,
  type Salvaged,
  type SyncProgress,
  type SyncResult,
  salvage,
} from "../field/index.ts";
import type { Fits } from "../gate/index.ts";
import { natsSettings } from "../local/index.ts";
import { fitsViews, type View } from "../merge/engine.ts";
import type { Command, Input } from "./args.ts";
import { NATS_OPTIONS, natsFiles } from "./broker.ts";
import { readText } from "./files.ts";
import { foldersHere, loadViews, schemasHere } from "./folders.ts";
import type { Output } from "./output.ts";
import { counted } from "./output.ts";
import { fieldPath } from "./paths.ts";
import { replicaLines, tellPulled } from "./replica-words.ts";
import { secretGiven, tokenGiven, tokenOf } from "./tokens.ts";

export const COMMON = { db: { type: "string" }, schemas: { type: "string" } } as const;
export const DB_HELP = "The device's database is --db, or TRIBUTARY_FIELD, or .tributary/field.db.";

const open = ({ text }: Input): Field => openField({ path: fieldPath(text("db")), schemas: schemasHere() });

/** The project's views; `null`: there is no folder of projections here. Throws `projection-malformed`. */
async function viewsHere(): Promise<readonly View[] | null> {
  const folders = foldersHere();
  return folders.projections === null ? null : loadViews(folders);
}

/** Opens the database with the project's views, which the device then folds. Throws `usage` where there are none. */
export async function openWithViews({ text }: Input): Promise<Field> {
  const views = await viewsHere();
  if (views === null)
    throw new TributaryError(
      "usage",
      "there is no folder of projections here, so this device folds no views",
      "Name one with --projections or TRIBUTARY_PROJECTIONS, or run the command where projections/ is.",
    );
  return openField({ path: fieldPath(text("db")), schemas: schemasHere(), views });
}

/** Opens the database to send and, where the project's views can be read, to pull. */
async function openToSync(input: Input): Promise<Field> {
  let views: readonly View[] | null = null;
  try {
    views = await viewsHere();
  } catch (error) {
    // A view that somebody is working on must not keep what was written on the device.
    input.out.progress(`Nothing is pulled: ${messageOf(error)}`);
  }
  return openField({ path: fieldPath(input.text("db")), schemas: schemasHere(), ...(views === null ? {} : { views }) });
}

/** The token that a device shows. One that knows no key of a hub was never enrolled by one: it needs a token, and is told so before it looks for the hub. */
export const tokenFor = (field: Field, { text }: Input): string | undefined =>
  field.status().keys.hub.length === 0 ? tokenOf(text("token")) : tokenGiven(text("token"));
/**
 * Opens the database for writing: what is written is held to the project's views as well. `isShown`: it also stands in them at once; else when they are next looked at, which is quicker for very
 * many events.
 */
export async function openToWrite({ text, out }: Input, isShown = true): Promise<Field> {
  let fits: Fits = () => null;
  let views: readonly View[] = [];
  try {
    views = await loadViews(foldersHere());
  } catch (error) {
    // A view that somebody is working on must not keep anybody from writing: the hub checks again.
    out.progress(`Values are not compared with the views' columns: ${messageOf(error)}`);
  }
  const field = openField({
    path: fieldPath(text("db")),
    schemas: schemasHere(),
    ...(isShown && views.length > 0 && foldersHere().projections !== null ? { views } : {}),
    fits: (head, data) => fits(head, data),
  });
  if (views.length > 0) fits = fitsViews(views, field.gate.read);
  return field;
}
export const actorOf = ({ text }: Input): string => text("actor") ?? userInfo().username;

export const fieldInit: Command = {
  name: "field init",
  summary: "make a device's database",
  usage: "tributary field init --org NAME --site NAME --device NAME [--schemas DIR] [--db FILE]",
  help: `Needs no network. Each database writes under its own name (org.site.device.epoch). A copy notices by itself that it is one and continues under a new
name, so a cloned tablet or a restored backup does no harm. --schemas, here and in every command of a device, names the folder of the schemas that it writes with (default: the project's).

  tributary field init --org relief --site juba --device tablet-1 --db juba.db`,
  options: { ...COMMON, org: { type: "string" }, site: { type: "string" }, device: { type: "string" } },
  async run(input) {
    const path = fieldPath(input.text("db"));
    const existed = existsSync(path);
    const name = {
      org: input.need("org", "the organisation the site belongs to"),
      site: input.need("site", "the site's name"),
      device: input.need("device", "this device's name"),
    };
    using field = openField({ path, name, schemas: schemasHere() });
    const status = field.status();
    input.out.result(status);
    input.out.line(`${existed ? "There already is" : "Made"} a field database at ${path}. It writes as ${status.origin}.`);
    return 0;
  },
};

export const fieldAppend: Command = {
  name: "field append",
  summary: "write an event, offline",
  usage: "tributary field append TYPE ENTITY DATA [--actor NAME] [--keep-invalid] [--schemas DIR] [--db FILE]",
  help: `ENTITY is type/id; DATA is JSON, @file, or - for standard input. The command returns when the event is durable on this device.
Data that does not fit its schema, or a column of a view, is refused; with --keep-invalid it is kept, and the hub will quarantine it. ${DB_HELP}

  tributary field append beneficiary.updated beneficiary/JUB-000007 '{"phone":"+211912345678"}' --actor deng`,
  options: { ...COMMON, actor: { type: "string" }, "keep-invalid": { type: "boolean" } },
  async run(input) {
    const [type, entity, given] = input.positionals;
    const slash = entity?.indexOf("/") ?? -1;
    if (type === undefined || entity === undefined || given === undefined || slash < 1) {
      throw new TributaryError("usage", "an event needs a type, an entity (type/id) and data", `Use: ${fieldAppend.usage}`);
    }
    const data = parseData(given === "-" ? readText("-") : given.startsWith("@") ? readText(given.slice(1)) : given);
    using field = await openToWrite(input);
    const appended = await field.append(
      { type, entity: { type: entity.slice(0, slash), id: entity.slice(slash + 1) }, data, actor: actorOf(input) },
      { onInvalid: input.flag("keep-invalid") ? "keep" : "refuse" },
    );
    input.out.result(appended);
    input.out.line(`Event ${appended.seq} of ${appended.origin} is on this device (id ${appended.id}).`);
    if (appended.problem !== null) input.out.line(`It does not fit, so the hub will quarantine it: ${appended.problem.message}.`);
    return 0;
  },
};

function parseData(text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new TributaryError(
      "input-malformed",
      `the data is not JSON: ${messageOf(error)}`,
      "Quote it as one argument, or put it into a file and give @file.",
      {
        cause: error,
      },
    );
  }
  if (!isJsonObject(value))
    throw new TributaryError("input-malformed", "the data is not a JSON object", 'Write it like {"phone": "+211912345678"}.');
  return value;
}

/** Login and certificates for a hub's broker, as options and the environment give them. */
export const natsGiven = (url: string, input: Input): { readonly nats?: NatsSettings } =>
  isNatsUrl(url) ? { nats: natsSettings(natsFiles(input.text)) } : {};

export const fieldSync: Command = {
  name: "field sync",
  summary: "send what the hub has not confirmed, and pull what it has for this device",
  usage:
    "tributary field sync --hub URL [--token TOKEN|@file] [--again] [--tries N] [--batch N] [--schemas DIR] [--projections DIR] [--db FILE] [--nats-creds FILE] [--nats-nkey FILE] [--nats-ca FILE] [--nats-cert FILE --nats-key FILE]",
  help: `URL is nats://… (several servers: nats://one:4222,nats://two:4222; tls://… insists on TLS) or, where that is blocked, http(s)://…. The device logs in at the
broker with its token, or with its own enrolled key, unless the URL, one of these files or TRIBUTARY_NATS_USER, _PASSWORD, _TOKEN, _CREDS, _NKEY, _CA,
_CERT or _KEY gives another login. A lost link is tried again (1 s, doubling to 5 min, at most 10 tries), with a line for each
pause; a refused token is not. If nothing listens at the address, the command says so at once; with --tries N it keeps trying there too. Events stay on the device whatever
happens; an interrupted sync resumes. --batch: events a batch (default 500). --again sends everything once more, also what the hub has refused; that does no harm. A device that has
enrolled its key (\`field enrol\`, or an earlier sync with a token) needs no token. Where the project's projections are at hand, the device then pulls what the hub's policies give it, as \`field pull\` does;
what cannot be pulled does not undo what was sent. TRIBUTARY_HUB and TRIBUTARY_TOKEN replace the options. ${DB_HELP}

  tributary field sync --hub https://hub.example.org --token @token.txt`,
  options: {
    ...COMMON,
    hub: { type: "string" },
    token: { type: "string" },
    again: { type: "boolean" },
    tries: { type: "string" },
    batch: { type: "string" },
    projections: { type: "string" },
    ...NATS_OPTIONS,
  },
  async run(input) {
    const { out } = input;
    const url = input.text("hub") ?? process.env.TRIBUTARY_HUB;
    if (url === undefined) throw new TributaryError("usage", "--hub is missing: the hub's address", `Use: ${fieldSync.usage}`);
    using field = await openToSync(input);
    const isPatient = input.text("tries") !== undefined;
    const token = tokenFor(field, input);
    const result = await field.sync({
      url,
      ...(token === undefined ? {} : { token }),
      ...natsGiven(url, input),
      again: input.flag("again"),
      failFast: !isPatient,
      ...(isPatient ? { maxTries: input.number("tries", 10, { least: 1, most: 1_000_000 }) } : {}),
      batchEvents: input.number("batch", 500, { least: 1, most: 2_000 }),
      onProgress: (progress) => tellProgress(out, progress),
    });
    if (process.stderr.isTTY) out.progress("");
    const status = field.status();
    out.result({ ...result, status });
    tellResult(out, result);
    if (result.pulled !== null) tellPulled(out, result.pulled, status);
    if (result.pullProblem !== null)
      out.notice(`Not all came down that the hub has for this device: ${result.pullProblem.message}\n${result.pullProblem.hint}`);
    return 0;
  },
};

export function tellProgress(out: Output, progress: SyncProgress): void {
  if (progress.kind === "synced") out.progress(`${progress.done} of ${progress.total} events confirmed`);
  else if (progress.kind === "queued")
    out.notice(
      `${progress.events === 1 ? "1 event is" : `${progress.events} events are`} queued at the hub's broker, not confirmed yet: ${progress.because}.`,
    );
  else if (progress.kind === "pulled")
    out.progress(
      `${counted(progress.events, "event")} came down; ${progress.current} of ${counted(progress.buckets, "bucket")} up to date`,
    );
  else out.notice(`${progress.because}; next try in ${(progress.pauseMs / 1000).toFixed(1)} s`);
}

function tellResult(out: Output, result: SyncResult): void {
  out.line(
    `The hub confirmed ${counted(result.confirmed, "event")} in ${counted(result.batches, "batch", "batches")}, ${counted(result.sentBytes, "byte")}; ${result.pending === 1 ? "1 is" : `${result.pending} are`} still to be sent.`,
  );
  if (result.restoredBehind > 0) {
    out.line(
      `The hub's log was restored from a backup: it lacked ${counted(result.restoredBehind, "event")} that it had confirmed to this device. All that it lacked was sent again.`,
    );
  }
  if (result.renamedTo !== null)
    out.line(`This database is a copy of one that has kept writing: it continues as ${result.renamedTo}.`);
  if (result.moved > 0)
    out.line(
      `${counted(result.moved, "event")} ${result.moved === 1 ? "continues" : "continue"} under this device's new name, with what they build on.`,
    );
  if (result.schemasLearnt > 0)
    out.line(
      `The hub has registered ${counted(result.schemasLearnt, "schema version")} since, and this device has all of them now.`,
    );
  if (result.schemasProposed > 0) {
    out.line(
      `The hub does not know ${result.schemasProposed} of this device's schemas; they were sent along. Events written with them wait in quarantine until somebody registers them (\`tributary schema proposals\`).`,
    );
  }
  const offsetMs = result.clockOffsetMs;
  if (offsetMs !== null && Math.abs(offsetMs) > 600_000) {
    out.line(
      `This device's clock is ${offsetMs > 0 ? "ahead" : "behind"} by ${(Math.abs(offsetMs) / 86_400_000).toFixed(1)} days: please set it.`,
    );
  }
  if (result.released > 0)
    out.line(
      `The hub's people released ${counted(result.released, "event")} from quarantine, which ${result.released === 1 ? "counts" : "count"} now.`,
    );
  for (const { seq, reason } of result.rejected)
    out.line(`  event ${seq} was rejected by the hub's people: ${reason ?? "the hub holds no reason"}`);
  for (const { seq, reason } of result.quarantined) out.line(`  event ${seq} is quarantined: ${reason}`);
  if (result.setAside.length > 0) {
    out.line(
      `${counted(result.setAside.length, "event")} could not be sent and stay on this device; \`tributary field salvage\` writes what is readable of them. The others were sent.`,
    );
  }
  for (const note of result.setAside) out.line(`  ${asideWords(note)}`);
}

const asideWords = ({ origin, seq, entity, reason, code }: AsideNote): string =>
  `set aside: event ${seq} of ${origin}${entity === null ? "" : `, ${entity}`}: ${reason} (${code})`;

export const fieldStatus: Command = {
  name: "field status",
  summary: "show what is on a device, and what the hub has of it",
  usage: "tributary field status [--schemas DIR] [--db FILE]",
  help: `LOCAL: on this device only. QUEUED: the broker has it. SYNCED: the hub has confirmed it. The list of events set aside has those that no hub takes and those that were damaged on this
device's disk, with the reason. Quarantined: the hub has the event, but it does not count until the hub's people release it. Rejected: they have turned it down. ${DB_HELP}`,
  options: COMMON,
  async run(input) {
    using field = open(input);
    const status = field.status();
    input.out.result(status);
    const { LOCAL, QUEUED, SYNCED } = status.levels;
    input.out.line(`${status.origin}: ${counted(status.events, "event")}`);
    input.out.line(`  SYNCED ${SYNCED}   QUEUED ${QUEUED}   LOCAL ${LOCAL}`);
    input.out.line(`  last sync: ${status.syncedAt ?? "never"}`);
    const { device, hub, unproven, isRotating } = status.keys;
    input.out.line(`  key: ${device}${isRotating ? " (a new one is about to take its place)" : ""}`);
    input.out.line(hub.length === 0 ? "  hub: any that answers; no key of it is known yet" : `  hub: ${hub.join(", ")}`);
    if (unproven > 0) input.out.line(`  ${unproven} answers were not signed by the hub, and not believed`);
    for (const line of replicaLines(status.replica)) input.out.line(line);
    for (const { entity, reason } of status.quarantined) input.out.line(`  quarantined: ${entity}: ${reason}`);
    for (const { entity, reason, rejection } of status.rejected)
      input.out.line(`  rejected: ${entity}: ${rejection ?? "the hub holds no reason"} (it was quarantined: ${reason})`);
    for (const note of status.aside) input.out.line(`  ${asideWords(note)}`);
    return 0;
  },
};

export const HUB = { hub: { type: "string" } } as const;
export const hubOf = (input: Input, usage: string): string => {
  const url = input.text("hub") ?? process.env.TRIBUTARY_HUB;
  if (url === undefined) throw new TributaryError("usage", "--hub is missing: the hub's address", `Use: ${usage}`);
  return url;
};

export const fieldEnrol: Command = {
  name: "field enrol",
  summary: "register this device's key at its hub, by a one-time code",
  usage:
    "tributary field enrol --hub URL --code CODE|@file [--schemas DIR] [--db FILE] [--nats-creds FILE] [--nats-nkey FILE] [--nats-ca FILE] [--nats-cert FILE --nats-key FILE]",
  help: `The code comes from \`tributary site add\`. It names the hub's key too: the device believes no other hub from then on, and \`field sync\` needs no token. Over a
network that others can read, use https:// or tls://: whoever reads the code could use it first (then this command says so). The code logs the
device in at the hub's own broker; from then on its own key does. ${DB_HELP}

  tributary field enrol --hub https://hub.example.org --code abcd-efgh-ijkl-mnop-qrst-uvwx-yz23-4567`,
  maxPositionals: 0,
  options: { ...COMMON, ...HUB, code: { type: "string" }, ...NATS_OPTIONS },
  async run(input) {
    const url = hubOf(input, fieldEnrol.usage);
    const code = secretGiven(input.need("code", "the one-time code"));
    using field = open(input);
    const enrolled = await field.enrol({ url, code, ...natsGiven(url, input) });
    input.out.result(enrolled);
    input.out.line(`${enrolled.device} is enrolled with the key ${enrolled.kid}.`);
    return 0;
  },
};

export const fieldRotateKey: Command = {
  name: "field rotate-key",
  summary: "replace this device's key with a new one",
  usage:
    "tributary field rotate-key --hub URL [--schemas DIR] [--db FILE] [--nats-creds FILE] [--nats-nkey FILE] [--nats-ca FILE] [--nats-cert FILE --nats-key FILE]",
  help: `The present key signs that the new one follows it. If the answer is lost, the next sync finishes the change. An earlier copy of this database has the old key and
needs a code to continue. ${DB_HELP}`,
  maxPositionals: 0,
  options: { ...COMMON, ...HUB, ...NATS_OPTIONS },
  async run(input) {
    const url = hubOf(input, fieldRotateKey.usage);
    using field = open(input);
    const rotated = await field.rotateKey({ url, ...natsGiven(url, input) });
    input.out.result(rotated);
    input.out.line(`${rotated.device} has the key ${rotated.kid} from now on.`);
    return 0;
  },
};

export const fieldSalvage: Command = {
  name: "field salvage",
  summary: "write what is readable of a damaged device's database",
  usage: "tributary field salvage --out FILE [--db FILE]",
  help: `Writes every event that can be read to a file, as NDJSON: one event a line, with its hash and how far it had come. Of damaged events it writes the texts
that remain ("level": "DAMAGED"). If the database cannot be opened, the command searches its pages. It only reads the database. It ends with 0
when all events were whole, and with 8 when some were damaged or lost. ${DB_HELP}

  tributary field salvage --db juba.db --out juba.ndjson`,
  options: { db: { type: "string" }, out: { type: "string" } },
  maxPositionals: 0,
  async run(input) {
    const path = fieldPath(input.text("db"));
    const file = input.need("out", "the file to write the events to");
    if (existsSync(file) && statSync(file).size > 0)
      throw new TributaryError("usage", `${file} exists already`, "Name a new file; nothing is overwritten.");
    if (!existsSync(path))
      throw new TributaryError("not-found", `there is no file at ${path}`, "Name the field database with --db.");
    const to = openSync(file, "w");
    let salvaged: Salvaged;
    try {
      salvaged = salvage(path, (line) => writeSync(to, `${JSON.stringify(line)}\n`));
      fsyncSync(to);
    } finally {
      closeSync(to);
    }
    const { whole, searched, damaged, lost, problem } = salvaged;
    input.out.line(
      `Wrote ${whole} whole events to ${file}${searched > 0 ? `; ${searched} of them were found by searching the file's pages` : ""}.`,
    );
    if (damaged > 0) input.out.line(`Wrote what is left of ${damaged} damaged events ("level": "DAMAGED").`);
    for (const { origin, seq } of lost) input.out.line(`  lost: event ${seq} of ${origin}`);
    if (problem === null && damaged === 0 && lost.length === 0) {
      input.out.result(salvaged);
      return 0;
    }
    input.out.result(salvaged);
    process.stderr.write(
      problem === null
        ? `tributary: ${path} is damaged: ${damaged} events in part, ${lost.length} lost; ${whole} are whole.\n`
        : `tributary: ${path} cannot be read as a database (${problem}), so nobody can say how many events it held. ${whole} whole ones were found.\n`,
    );
    process.stderr.write("Keep the file. Start a new database for this device; the hub has what it has confirmed.\n");
    return new TributaryError("data-corrupt", "", "").exitCode;
  },
};
