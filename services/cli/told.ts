import { createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { createInterface } from "node:readline";
import type { Client } from "pg";
import { type KeptNotification, keptNotifications, putBackNotifications } from "../notify/index.ts";
import { connectViews } from "../views/index.ts";

const ROWS = 500;
const LOOK_MS = 5_000;

/** What people have been told of, which the log does not say. */
export interface Told {
  readonly notifications: number;
  /** What happened up to this position was either told or is among the notifications; `null`: nothing was folded. */
  readonly through: string | null;
}

/** Writes the outbox of notifications to a file, a line each, and how far it reaches. `end`: of the log that it will be restored with. */
export async function keepTold(db: Client, file: string, end: string): Promise<Told> {
  const handle = await open(file, "w", 0o600);
  // Nothing was folded yet, not even the tables made.
  const { rows: made } = await db.query("SELECT WHERE to_regclass('tributary.notification') IS NOT NULL");
  if (made.length === 0) {
    await handle.close();
    return { notifications: 0, through: null };
  }
  await db.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  try {
    const { rows } = await db.query<{ through: string | null }>(
      "SELECT max(a.position)::text AS through FROM tributary.audit a, tributary.checkpoint c WHERE a.position <= c.position AND a.position <= $1",
      [end],
    );
    let notifications = 0;
    let lines: string[] = [];
    for await (const row of keptNotifications(db)) {
      lines.push(JSON.stringify(row));
      notifications++;
      if (lines.length >= ROWS) lines = await writeLines(handle, lines);
    }
    await writeLines(handle, lines);
    await handle.sync();
    return { notifications, through: rows[0]?.through ?? null };
  } finally {
    await db.query("COMMIT").catch(() => {});
    await handle.close();
  }
}

async function writeLines(handle: FileHandle, lines: readonly string[]): Promise<string[]> {
  if (lines.length > 0) await handle.write(`${lines.join("\n")}\n`);
  return [];
}

/** Puts back what people had been told, before the log is folded anew. Doing it again changes nothing. */
export async function putBackTold(db: Client, file: string, through: string | null): Promise<number> {
  let count = 0;
  let rows: KeptNotification[] = [];
  const flush = async (): Promise<void> => {
    if (rows.length > 0) count += await putBackNotifications(db, rows);
    rows = [];
  };
  for await (const line of createInterface({ input: createReadStream(file, "utf8"), crlfDelay: Number.POSITIVE_INFINITY })) {
    // Our own, and checked by its hash when it was restored.
    if (line !== "") rows.push(JSON.parse(line) as KeptNotification);
    if (rows.length >= ROWS) await flush();
  }
  await flush();
  if (through !== null) {
    await db.query("DELETE FROM tributary.told");
    await db.query("INSERT INTO tributary.told VALUES ($1)", [through]);
  }
  return count;
}

/** Waits until the fold has come past what people were told before a restore; from then on they are told of everything again. */
export async function forgetTold(postgresUrl: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      const db = await connectViews(postgresUrl, "tributary-hub");
      try {
        await db.query("DELETE FROM tributary.told WHERE through <= (SELECT position FROM tributary.checkpoint)");
        const { rows } = await db.query("SELECT FROM tributary.told LIMIT 1");
        if (rows.length === 0) return;
      } finally {
        await db.end();
      }
    } catch {
      // Away for a moment; nobody is told twice meanwhile.
    }
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(done, LOOK_MS);
      timer.unref();
      signal.addEventListener("abort", done, { once: true });
    });
  }
}
