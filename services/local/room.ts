import { existsSync, statfsSync } from "node:fs";
import { join } from "node:path";
import type { Backend } from "./backend.ts";

/** When a server fails with less room than this on its disk, the full disk is taken for the reason: PostgreSQL's write-ahead log alone grows by 16 MiB at a time. */
export const MIN_FREE_BYTES = 64 * 1_048_576;
/** The same for file systems that have only so many files. */
const MIN_FREE_FILES = 64;

/** The room that is left where a server keeps its data. */
export interface Room {
  readonly location: string;
  readonly freeBytes: number;
  /** `null`: the file system has no bound of files. */
  readonly freeFiles: number | null;
}

export const isFull = ({ freeBytes, freeFiles }: Room): boolean =>
  freeBytes < MIN_FREE_BYTES || (freeFiles !== null && freeFiles < MIN_FREE_FILES);

/** The room that a server of a data directory has: its own folder there may be a disk of its own. */
export function roomOf(dataDir: string, name: Backend["name"]): Room | null {
  const rooms = [dataDir, join(dataDir, name)]
    .filter((location) => existsSync(location))
    .flatMap((location) => roomAt(location) ?? []);
  return rooms.find(isFull) ?? rooms[0] ?? null;
}

function roomAt(location: string): Room | null {
  try {
    const { bavail, bsize, files, ffree } = statfsSync(location);
    return { location, freeBytes: bavail * bsize, freeFiles: files === 0 ? null : ffree };
  } catch {
    // The disk hangs or is gone: then only the server can say more.
    return null;
  }
}
