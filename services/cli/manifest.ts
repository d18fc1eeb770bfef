import { createHash } from "node:crypto";
import { createReadStream, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { messageOf, TributaryError } from "../core/index.ts";
import { LOGINS_FILE } from "../local/index.ts";
import type { Folders } from "./folders.ts";
import { PROGRAM_VERSION } from "./program.ts";

/** Raised when an older program could not restore what a newer one has backed up. */
export const FORMAT = 1;
export const MANIFEST = "manifest.json";

/** The files of a backup, and where each stands in a hub's folder. No other name is ever restored. */
export const LOCATIONS: Readonly<Record<string, string>> = {
  "events.db": "eventstore/events.db",
  "console.db": "console.db",
  "config.json": "config.json",
  "signing-key.json": "signing-key.json",
  "notifications.json": "notifications.json",
  "people.json": "people.json",
  "nats-logins.json": LOGINS_FILE,
  "nats.password": "nats.password",
  "told.jsonl": "told.jsonl",
};

const digits = z.string().regex(/^\d+$/);
const manifestSchema = z.object({
  format: z.literal(FORMAT),
  program: z.string(),
  createdAt: z.string(),
  org: z.string(),
  /** `null`: the log is a server's own, backed up by its own means. */
  log: z.object({ incarnation: z.string(), end: digits, events: z.number() }).nullable(),
  told: z.object({ notifications: z.number(), through: digits.nullable() }),
  /** Digests of the folders that the hub ran with; they are the project's own and not in the backup. */
  schemas: z.string(),
  projections: z.string(),
  files: z.array(z.object({ name: z.enum(Object.keys(LOCATIONS)), bytes: z.number(), sha256: z.string() })),
});
export type Manifest = z.infer<typeof manifestSchema>;

export async function hashOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** A digest over the files of a folder that schemas and projections are read from. */
function folderDigest(dir: string | null): string {
  const hash = createHash("sha256");
  const names = dir !== null && existsSync(dir) ? readdirSync(dir, { recursive: true, encoding: "utf8" }) : [];
  for (const name of names.filter((name) => /\.(json|avsc|ts|js|mjs)$/.test(name)).sort())
    hash
      .update(`${name}\0`)
      .update(readFileSync(join(dir!, name)))
      .update("\0");
  return hash.digest("hex");
}

export const folderDigests = ({ schemas, projections }: Folders): Pick<Manifest, "schemas" | "projections"> => ({
  schemas: folderDigest(schemas),
  projections: folderDigest(projections),
});

const damaged = (message: string, hint: string, cause?: unknown): TributaryError =>
  new TributaryError("data-corrupt", message, hint, { cause });

const isNewer = (theirs: string, ours: string): boolean => {
  const [a, b] = [theirs, ours].map((version) => version.split(/[.-]/).slice(0, 3).map(Number));
  for (let at = 0; at < 3; at++) if ((a![at] ?? 0) !== (b![at] ?? 0)) return (a![at] ?? 0) > (b![at] ?? 0);
  return false;
};

/** Reads a backup's manifest. Throws `data-corrupt` for a file that is not a manifest, is incomplete, or was written by a newer version. */
export function readManifest(dir: string): Manifest {
  const file = join(dir, MANIFEST);
  if (!existsSync(file))
    throw damaged(
      `${dir} is not a backup: it has no ${MANIFEST}`,
      "The manifest is written last: without it the backup was not finished. Take another.",
    );
  let raw: unknown;
  try {
    raw = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw damaged(`${file} cannot be read: ${messageOf(error)}`, "Take another backup.", error);
  }
  const { format, program } = (raw ?? {}) as { format?: unknown; program?: unknown };
  if ((typeof format === "number" && format > FORMAT) || (typeof program === "string" && isNewer(program, PROGRAM_VERSION)))
    throw damaged(`${dir} was written by a newer version of this program (${String(program)})`, "Update this program.");
  const parsed = manifestSchema.safeParse(raw);
  if (!parsed.success)
    throw damaged(`${file} is not a manifest: ${parsed.error.issues[0]?.message ?? ""}`, "Take another backup.", parsed.error);
  return parsed.data;
}

/** Checks each file of a backup against its manifest. Throws `data-corrupt`, naming the first that is missing or damaged. */
export async function checkFiles(dir: string, manifest: Manifest, say: (line: string) => void): Promise<void> {
  const names = new Set(manifest.files.map(({ name }) => name));
  for (const name of ["config.json", "signing-key.json", "told.jsonl", ...(manifest.log === null ? [] : ["events.db"])])
    if (!names.has(name))
      throw damaged(`the backup in ${dir} is incomplete: ${name} is not in its manifest`, "Take another backup.");
  for (const { name, bytes, sha256 } of manifest.files) {
    const file = join(dir, name);
    if (!existsSync(file)) throw damaged(`the backup is incomplete: ${file} is missing`, "Take another backup.");
    const size = statSync(file).size;
    if (size !== bytes)
      throw damaged(`${file} is damaged: it has ${size} bytes, not ${bytes}`, "Take another backup, and check the disk.");
    say(`Checking ${name} (${megabytes(bytes)}) …`);
    if ((await hashOf(file)) !== sha256)
      throw damaged(`${file} is damaged: its SHA-256 is not the manifest's`, "Take another backup, and check the disk.");
  }
}

export const megabytes = (bytes: number): string =>
  bytes < 1_000_000 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
