import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { TributaryError } from "../core/index.ts";
import { makeFolder } from "../core/node.ts";
import { keptLogins, lockDirectory, ownerOf, startEventStore, startPostgres } from "../local/index.ts";
import { currentIncarnation, type Log, openLog } from "../log/index.ts";
import { copyDatabase, copyRunning, sealCopy } from "../log/node/index.ts";
import { connectViews } from "../views/index.ts";
import { hubOrg, readConfig } from "./config.ts";
import { syncToDisk } from "./files.ts";
import { foldersOf } from "./folders.ts";
import { hubKey } from "./keys.ts";
import { FORMAT, folderDigests, hashOf, MANIFEST, type Manifest, megabytes } from "./manifest.ts";
import { peopleFile, settingsFile } from "./paths.ts";
import { PROGRAM_VERSION } from "./program.ts";
import { mustAnswer } from "./reach.ts";
import { readState } from "./state.ts";
import { keepTold } from "./told.ts";

export interface BackupOptions {
  /** The hub's folder, and where the backup goes: a folder that does not exist yet, or an empty one. */
  readonly dataDir: string;
  readonly to: string;
  /** Whether the log is left out, because the event store is backed up by its own means. */
  readonly withoutLog: boolean;
  readonly say: (line: string) => void;
}

interface Servers {
  readonly eventstoreUrl: string;
  readonly postgresUrl: string;
}

/**
 * Backs up a hub, whether it runs or not. What belongs together is consistent: the hub's own outbox is copied before the log, so that the log has every event that
 * the outbox holds a receipt for; what people were told is copied after the log, up to where the log's copy ends.
 *
 *   beside its location ─▶ outbox ─▶ log ─▶ what people were told ─▶ settings ─▶ manifest with hashes, on disk ─▶ in place
 *
 * PostgreSQL's views are folded from the log, and what JetStream holds is still on the devices: a backup holds neither.
 */
export async function makeBackup(options: BackupOptions): Promise<Manifest> {
  const to = resolve(options.to);
  checkTarget(options.dataDir, to);
  return withServers(options.dataDir, options.say, async (servers) => {
    makeFolder(dirname(to));
    // Each backup has a folder of its own, so that two at once do not remove each other's files.
    const partial = mkdtempSync(`${to}.partial-`);
    try {
      const manifest = await fill(partial, options, servers);
      for (const name of readdirSync(partial)) syncToDisk(join(partial, name));
      syncToDisk(partial);
      // Only an empty folder may be removed: somebody else's backup of this name stays.
      if (existsSync(to)) rmdirSync(to);
      renameSync(partial, to);
      syncToDisk(dirname(to));
      return manifest;
    } catch (error) {
      rmSync(partial, { recursive: true, force: true });
      throw error;
    }
  });
}

function checkTarget(dataDir: string, to: string): void {
  if (!relative(dataDir, to).startsWith(".."))
    throw new TributaryError(
      "usage",
      `${to} is inside the hub's own folder`,
      "Name a folder elsewhere, best on another disk: a copy that is lost together with the hub is not a backup.",
    );
  if (existsSync(to) && (!statSync(to).isDirectory() || readdirSync(to).length > 0))
    throw new TributaryError("usage", `${to} is not empty`, "Name a folder that is not there yet; each backup has its own.");
}

/** Runs `work` with the event store and PostgreSQL of a hub: those that run, or, while the hub is stopped, servers that are started for this. */
async function withServers<T>(dataDir: string, say: (line: string) => void, work: (servers: Servers) => Promise<T>): Promise<T> {
  const state = readState(dataDir);
  const areNamed = !!process.env.TRIBUTARY_EVENTSTORE_URL && !!process.env.TRIBUTARY_POSTGRES_URL;
  if (areNamed || ownerOf(dataDir) !== null) {
    await mustAnswer(dataDir, state, ["eventstore", "postgres"]);
    return work(state);
  }
  say("The hub is stopped; starting its event store and PostgreSQL for the backup …");
  const unlock = lockDirectory(dataDir, say);
  const { ports = {} } = readConfig(dataDir);
  const last = (port: number | undefined) => (port === undefined ? {} : { lastPort: port });
  try {
    const eventstore = await startEventStore({ dataDir, say, ...last(ports.eventstore) });
    try {
      const postgres = await startPostgres({ dataDir, say, ...last(ports.postgres) });
      try {
        return await work({ eventstoreUrl: eventstore.url, postgresUrl: postgres.url });
      } finally {
        await postgres.close();
      }
    } finally {
      await eventstore.close();
    }
  } finally {
    unlock();
  }
}

async function fill(partial: string, { dataDir, withoutLog, say }: BackupOptions, servers: Servers): Promise<Manifest> {
  const file = (name: string): string => join(partial, name);
  const org = hubOrg(dataDir, undefined);
  await hubKey(dataDir);
  if (existsSync(join(dataDir, "console.db"))) {
    await copyDatabase(join(dataDir, "console.db"), file("console.db"));
    sealCopy(file("console.db"), false);
  }
  const log = withoutLog ? null : await copyLog(servers.eventstoreUrl, file("events.db"), say);
  const db = await connectViews(servers.postgresUrl, "tributary-backup");
  let told: Manifest["told"];
  try {
    told = await keepTold(db, file("told.jsonl"), log?.end ?? String(2n ** 63n - 1n));
  } finally {
    await db.end();
  }
  for (const name of ["config.json", "signing-key.json"]) copyFileSync(join(dataDir, name), file(name));
  const logins = keptLogins(dataDir);
  if (logins !== null) writeFileSync(file("nats-logins.json"), logins, { mode: 0o600 });
  if (existsSync(join(dataDir, "nats.password"))) copyFileSync(join(dataDir, "nats.password"), file("nats.password"));
  const own: readonly (readonly [location: string, name: string])[] = [
    [settingsFile(dataDir), "notifications.json"],
    [peopleFile(dataDir), "people.json"],
  ];
  for (const [location, name] of own) if (existsSync(location)) copyFileSync(location, file(name));

  const files: Manifest["files"] = [];
  for (const name of readdirSync(partial).sort()) {
    chmodSync(file(name), 0o600);
    const bytes = statSync(file(name)).size;
    say(`Hashing ${name} (${megabytes(bytes)}) …`);
    files.push({ name: name as Manifest["files"][number]["name"], bytes, sha256: await hashOf(file(name)) });
  }
  const createdAt = new Date().toISOString();
  const manifest: Manifest = {
    format: FORMAT,
    program: PROGRAM_VERSION,
    createdAt,
    org,
    log,
    told,
    ...folderDigests(foldersOf(dataDir)),
    files,
  };
  // The manifest is written last: without it nothing here counts as a backup.
  writeFileSync(file(MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`, { mode: 0o600, flush: true });
  return manifest;
}

/** Copies the log while it is written to. Throws when the event store is not the embedded node, because no other can be asked for a copy. */
async function copyLog(url: string, to: string, say: (line: string) => void): Promise<NonNullable<Manifest["log"]>> {
  await using log: Log = openLog(url);
  const before = await currentIncarnation(log.journal);
  say("Copying the log …");
  const made = await copyRunning(url, (share) => say(`Copying the log: ${Math.floor(share * 100)} %`));
  if (made === null) {
    throw new TributaryError(
      "usage",
      "the log is in a server of its own, which is backed up by its own means",
      "docs/production.md says how. `tributary backup DIR --without-log` backs up the rest: the signing key, settings, and what people were told.",
    );
  }
  try {
    moveFile(made.path, to);
  } finally {
    rmSync(made.path, { force: true });
  }
  const { end, events } = sealCopy(to, true);
  const after = await currentIncarnation(log.journal);
  if (after.id !== before.id)
    throw new TributaryError(
      "restored-behind",
      "a new incarnation of the log began while it was copied",
      "Take the backup again.",
    );
  return { incarnation: after.id, end, events };
}

/** Moves a file, also to another disk. */
export function moveFile(from: string, to: string): void {
  makeFolder(dirname(to));
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EXDEV") throw error;
    copyFileSync(from, to);
  }
}
