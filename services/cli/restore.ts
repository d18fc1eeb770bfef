import { chmodSync, copyFileSync, existsSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync, statSync } from "node:fs";
import { userInfo } from "node:os";
import { dirname, join, resolve } from "node:path";
import { type Incarnation, type IncarnationId, TributaryError } from "../core/index.ts";
import { hubFolder, makeFolder } from "../core/node.ts";
import { canHoldDatabase } from "../local/index.ts";
import { beginIncarnation, currentIncarnation, type Log } from "../log/index.ts";
import { sealCopy } from "../log/node/index.ts";
import { connectViews, migrate } from "../views/index.ts";
import { syncToDisk, writeWhole } from "./files.ts";
import { foldersOf } from "./folders.ts";
import { checkFiles, folderDigests, LOCATIONS, type Manifest, readManifest } from "./manifest.ts";
import { putBackTold } from "./told.ts";

/** Stands in a restored folder until the hub's first start has declared the log's new incarnation. */
const MARKER = "restored.json";
const TOLD = "told.jsonl";

interface Marker {
  /** When the backup was taken, and who restored it. */
  readonly backupAt: string;
  readonly by: string;
  readonly log: Manifest["log"];
  readonly toldThrough: string | null;
}

export interface RestoreOptions {
  readonly from: string;
  /** Where the hub's folder is to be: a folder that does not exist yet, or an empty one. */
  readonly dataDir: string;
  readonly say: (line: string) => void;
}

/**
 * Makes a hub's folder from a backup:
 *
 *   checked file by file ─▶ copied beside its location, on disk ─▶ in place, with a marker ─▶ first start: a new incarnation of the log, then the hub serves
 *       └ damaged, incomplete, newer ─▶ refused, naming the file; nothing was made
 */
export async function restoreBackup({ from, dataDir, say }: RestoreOptions): Promise<Manifest> {
  const dir = resolve(from);
  if (existsSync(dataDir) && (!statSync(dataDir).isDirectory() || readdirSync(dataDir).length > 0))
    throw new TributaryError(
      "usage",
      `${dataDir} is not empty`,
      "Restore into a folder that is not there yet: --data NEW. What that folder holds may still be needed; a restore never overwrites it.",
    );
  const manifest = readManifest(dir);
  await checkFiles(dir, manifest, say);
  const partial = `${dataDir}.partial`;
  rmSync(partial, { recursive: true, force: true });
  hubFolder(partial);
  try {
    for (const { name } of manifest.files) {
      say(`Restoring ${name} …`);
      put(join(dir, name), join(partial, LOCATIONS[name]!), 0o600);
    }
    if (manifest.log !== null) {
      const { end } = sealCopy(join(partial, LOCATIONS["events.db"]!), true);
      if (end !== manifest.log.end)
        throw new TributaryError(
          "data-corrupt",
          `${join(dir, "events.db")} ends at ${end}, and the manifest says ${manifest.log.end}`,
          "Take another backup.",
        );
    }
    const { createdAt: backupAt, log, told } = manifest;
    const marker: Marker = { backupAt, by: userInfo().username, log, toldThrough: told.through };
    writeWhole(join(partial, MARKER), JSON.stringify(marker, null, 2));
    syncToDisk(join(partial, MARKER));
    syncToDisk(partial);
    if (existsSync(dataDir)) rmdirSync(dataDir);
    renameSync(partial, dataDir);
    syncToDisk(dirname(dataDir));
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    throw error;
  }
  advise(dataDir, manifest, say);
  return manifest;
}

function put(from: string, to: string, mode: number): void {
  makeFolder(dirname(to), 0o700);
  copyFileSync(from, to);
  chmodSync(to, mode);
  syncToDisk(to);
}

/** Says what the restored hub will meet, where its operator should know it beforehand. */
function advise(dataDir: string, manifest: Manifest, say: (line: string) => void): void {
  const now = folderDigests(foldersOf(dataDir));
  for (const folder of ["schemas", "projections"] as const)
    if (manifest[folder] !== now[folder])
      say(
        `The files in ${folder}/ are not those that the hub ran with. If that is not intended, put the right files in place first.`,
      );
  if (!canHoldDatabase(dataDir))
    say(`PostgreSQL does not run as root, and cannot reach ${dataDir}: the hub's start will say how to mend it.`);
}

function readMarker(dataDir: string): Marker | null {
  const file = join(dataDir, MARKER);
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as Marker) : null;
}

/**
 * What the first start after a restore does before anything serves: the log begins a new incarnation, and what people were told is put back. This happens once, even when
 * the start is interrupted: an incarnation that was begun is not begun again. Returns the log's incarnation, restored or not.
 */
export async function takeUpLog(
  dataDir: string,
  log: Log,
  postgresUrl: string,
  say: (line: string) => void,
): Promise<Incarnation> {
  const marker = readMarker(dataDir);
  if (marker === null) return currentIncarnation(log.journal);
  const { backupAt, by, log: kept, toldThrough } = marker;
  const present =
    kept === null
      ? await currentIncarnation(log.journal)
      : await beginIncarnation(log.journal, kept.incarnation as IncarnationId, {
          how: "restored",
          by,
          note: `from a backup of ${backupAt}`,
          seenEnd: kept.end,
        });
  const db = await connectViews(postgresUrl, "tributary-hub");
  try {
    await migrate(db);
    await putBackTold(db, join(dataDir, TOLD), toldThrough);
  } finally {
    await db.end();
  }
  rmSync(join(dataDir, MARKER));
  rmSync(join(dataDir, TOLD), { force: true });
  say(
    kept === null
      ? `This hub was restored from a backup of ${backupAt}, without its log. If the event store was restored as well: \`tributary restore --declare\`.`
      : `This hub was restored from a backup of ${backupAt}: its log begins a new incarnation, ${present.id}. Devices send again what it lacks; the views are folded again from the log.`,
  );
  return present;
}
