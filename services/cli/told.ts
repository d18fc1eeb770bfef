import { createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { createInterface } from "node:readline";
import { pause } from "../core/node.ts";
import {
  connectViews,
  type Db,
  forgetTold,
  hasOutbox,
  inSnapshot,
  type KeptNotification,
  keptNotifications,
  noteTold,
  putBackNotifications,
  toldThrough,
} from "../views/index.ts";

const ROWS = 500;
const LOOK_MS = 5_000;

/** What people have been told of, which the log does not say. */
export interface Told {
  readonly notifications: number;
  /** What happened up to this position was either told or is among the notifications; `null`: nothing was folded. */
  readonly through: string | null;
}

/** Writes the outbox of notifications to a file, a line each, and returns how far it reaches. `end`: where the log ends that it will be restored with. */
export async function keepTold(db: Db, file: string, end: string): Promise<Told> {
  await using handle = await open(file, "w", 0o600);
  // Nothing was folded yet, and even the tables are missing.
  if (!(await hasOutbox(db))) return { notifications: 0, through: null };
  return await inSnapshot(db, async () => {
    const through = await toldThrough(db, end);
    let notifications = 0;
    let lines: string[] = [];
    for await (const row of keptNotifications(db)) {
      lines.push(JSON.stringify(row));
      notifications++;
      if (lines.length >= ROWS) lines = await writeLines(handle, lines);
    }
    await writeLines(handle, lines);
    await handle.sync();
    return { notifications, through };
  });
}

async function writeLines(handle: FileHandle, lines: readonly string[]): Promise<string[]> {
  if (lines.length > 0) await handle.write(`${lines.join("\n")}\n`);
  return [];
}

/** Puts back what people had been told, before the log is folded again. Doing it twice changes nothing. */
export async function putBackTold(db: Db, file: string, through: string | null): Promise<number> {
  let count = 0;
  let rows: KeptNotification[] = [];
  const flush = async (): Promise<void> => {
    if (rows.length > 0) count += await putBackNotifications(db, rows);
    rows = [];
  };
  for await (const line of createInterface({ input: createReadStream(file, "utf8"), crlfDelay: Number.POSITIVE_INFINITY })) {
    // The line is our own, and was checked by its hash when it was restored.
    if (line !== "") rows.push(JSON.parse(line) as KeptNotification);
    if (rows.length >= ROWS) await flush();
  }
  await flush();
  if (through !== null) await noteTold(db, through);
  return count;
}

/** Waits until the fold has come past what people were told before a restore; from then on they are told of everything again. */
export async function outliveTold(postgresUrl: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      const db = await connectViews(postgresUrl, "tributary-hub");
      try {
        if (await forgetTold(db)) return;
      } finally {
        await db.end();
      }
    } catch {
      // The database is away for a moment; meanwhile nobody is told twice.
    }
    await pause(LOOK_MS, signal);
  }
}
