/** Reading and writing whole files. */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { messageOf, TributaryError } from "../core/index.ts";
import { systemWords } from "./system-errors.ts";

/** What to do about a file of the hub's folder that cannot be read. None may be removed lightly: most hold what no other file holds. */
const REMEDIES: Readonly<Record<string, string>> = {
  "hub.json": "A hub writes it when it starts: stop the hub if it is running, and start it again.",
  "config.json": "Restore it from the last backup. Without it the hub would begin as another organisation, at other ports.",
  "signing-key.json":
    "Restore it from the last backup, and keep the damaged one. Without it no device would believe this hub any more.",
};

/** A JSON file of the hub's folder. Throws `data-corrupt` when it cannot be read. */
export function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new TributaryError(
      "data-corrupt",
      `${file} cannot be read: ${messageOf(error)}`,
      REMEDIES[basename(file)] ?? "Restore it from the last backup, and keep the damaged one.",
      {
        cause: error,
      },
    );
  }
}

/** Flushes a file, or the names in a folder, to disk. */
export function syncToDisk(path: string): void {
  const handle = openSync(path, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/** Writes a file in one step: readers see the old text or the new one, never a part. */
export function writeWhole(file: string, text: string, mode = 0o600): void {
  writeFileSync(`${file}.new`, text, { mode, flush: true });
  renameSync(`${file}.new`, file);
}

/** A file's text, or standard input for `-`. Throws `input-malformed` when it cannot be read. */
export function readText(file: string): string {
  try {
    const bytes = readFileSync(file === "-" ? 0 : file);
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    const notUtf8 = error instanceof TypeError;
    const why = systemWords(error, file) ?? [`${file} cannot be read: ${messageOf(error)}`, "Check the name."];
    throw new TributaryError(
      "input-malformed",
      notUtf8 ? `${file} is not UTF-8` : why[0],
      notUtf8 ? "Save it as UTF-8 and try again." : why[1],
      { cause: error },
    );
  }
}
