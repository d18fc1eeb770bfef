import pino from "pino";
import { openLogFile } from "../local/index.ts";

/** A worker's log: events with fields, to a file or stderr. What cannot be written there is dropped: a full disk must not end a worker. */
export function logger(name: string, file: string | undefined): (event: Record<string, unknown>) => void {
  const log = pino(
    { name, base: { pid: process.pid } },
    file === undefined ? stderrLines() : openLogFile(file, (lines) => lostLine(name, lines)),
  );
  return ({ event, error, ...fields }) => {
    const level = error === undefined && !String(event).includes("interrupted") ? "info" : "warn";
    log[level](error === undefined ? fields : { ...fields, err: error }, String(event));
  };
}

const WARN = 40;
/** As pino would write it. */
const lostLine = (name: string, lines: number): string =>
  `${JSON.stringify({ level: WARN, time: Date.now(), pid: process.pid, name, lines, msg: "log-lines-lost" })}\n`;

function stderrLines(): pino.DestinationStream {
  const lines = pino.destination({ dest: 2, sync: true });
  return {
    write(line) {
      try {
        lines.write(line);
      } catch {
        // The log is a file on a full disk.
      }
    },
  };
}

export const ended = (): Promise<void> =>
  new Promise((resolve) => {
    process.once("SIGINT", resolve);
    process.once("SIGTERM", resolve);
    // A worker whose hub is gone has nobody to stop it.
    process.once("disconnect", resolve);
  });
