import { closeSync, fstatSync, ftruncateSync, openSync, readSync, renameSync, rmSync, statSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { ownFolder } from "../core/node.ts";

/** A log that has grown to this size is put aside as `NAME.1`, which replaces the one before: so each log takes at most twice this size. */
export const MAX_LOG_BYTES = 16 * 1_048_576;
/** How often the sizes of other programs' logs are checked. */
export const LOG_LOOK_MS = 10_000;
/** So many bytes are added before a writer checks its file's size, because others may write there, too. */
const LOOKS_PER_LOG = 16;
const CHUNK_BYTES = 1_048_576;
/** So many bytes are read for the last words of a server, whose lines may be long. */
const TAIL_BYTES = 16_384;

/**
 * Puts a log aside that has grown too large. Programs that have it open and add to its end (O_APPEND) go on at its new beginning, and need not be told; what they
 * write in the moment in between is lost. If the disk has no room for that, the log stays as it is. Returns whether it was put aside.
 */
export function boundLog(file: string, maxBytes = MAX_LOG_BYTES): boolean {
  try {
    const { size } = statSync(file);
    if (size <= maxBytes) return false;
    // If the log is from before there was a bound, only its end is kept.
    copyTail(file, `${file}.1.new`, maxBytes);
    renameSync(`${file}.1.new`, `${file}.1`);
    const handle = openSync(file, "r+");
    try {
      ftruncateSync(handle, 0);
    } finally {
      closeSync(handle);
    }
    return true;
  } catch {
    forget(`${file}.1.new`);
    return false;
  }
}

function forget(file: string): void {
  try {
    rmSync(file, { force: true });
  } catch {
    // The disk cannot be written to. That must not stop the care of the other logs.
  }
}

function copyTail(from: string, to: string, maxBytes: number): void {
  const source = openSync(from, "r");
  try {
    const target = openSync(to, "w", 0o600);
    try {
      const chunk = Buffer.alloc(CHUNK_BYTES);
      const { size } = fstatSync(source);
      for (let at = Math.max(0, size - maxBytes); at < size; ) {
        const read = readSync(source, chunk, 0, CHUNK_BYTES, at);
        if (read === 0) break;
        for (let done = 0; done < read; ) done += writeSync(target, chunk, done, read - done);
        at += read;
      }
    } finally {
      closeSync(target);
    }
  } finally {
    closeSync(source);
  }
}

/** The last lines of a log, however large it is; "" where there is none. */
export function lastLines(file: string, lines: number): string {
  let handle: number;
  try {
    handle = openSync(file, "r");
  } catch {
    return "";
  }
  try {
    const { size } = fstatSync(handle);
    const tail = Buffer.alloc(Math.min(size, TAIL_BYTES));
    const read = readSync(handle, tail, 0, tail.length, size - tail.length);
    return tail.toString("utf8", 0, read).trimEnd().split("\n").slice(-lines).join("\n");
  } finally {
    closeSync(handle);
  }
}

export interface LogWriter {
  write(line: string): void;
}

/**
 * Adds lines to a log of this program, within the bound. A line that cannot be written is dropped: a full disk must not stop the work that is logged. When there
 * is room again, `lostLine` makes a line that says how many were lost.
 */
export function openLogFile(file: string, lostLine: (lines: number) => string, maxBytes = MAX_LOG_BYTES): LogWriter {
  ownFolder(dirname(file));
  const handle = openSync(file, "a", 0o600);
  let lost = 0;
  let sinceLook = 0;
  boundLog(file, maxBytes);
  return {
    write(line) {
      const text = lost === 0 ? line : `\n${lostLine(lost)}${line}`;
      try {
        const bytes = Buffer.from(text);
        for (let done = 0; done < bytes.length; ) done += writeSync(handle, bytes, done);
        lost = 0;
        sinceLook += bytes.length;
      } catch {
        lost++;
      }
      if (sinceLook < maxBytes / LOOKS_PER_LOG) return;
      sinceLook = 0;
      boundLog(file, maxBytes);
    },
  };
}
