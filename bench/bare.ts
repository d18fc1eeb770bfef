/**
 * What PostgreSQL does with the rows that views are made of, with nothing to compute: the same audit rows, history and claims by COPY and the same
 * view rows by upsert, with as many events in a transaction, and the same tables and indexes. In go views as they stand; out comes the rate.
 */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Client } from "pg";
import { from as copyFrom, to as copyTo } from "pg-copy-streams";

/** Tables that rows are only added to, with the column that has an event's position. */
interface Appended {
  readonly table: string;
  readonly position: string;
}

async function* copiedOut(db: Client, sql: string): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of db.query(copyTo(sql)) as AsyncIterable<Buffer>) {
    const lines = (rest + chunk.toString("latin1")).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}

/** A table's lines in the order of the log, cut where pages end. Bytes stand in the text one by one, so that no character is cut. */
async function pagesOf(db: Client, { table, position }: Appended, ends: readonly bigint[]): Promise<Buffer[]> {
  const { rows } = await db.query<{ n: number }>(
    "SELECT attnum::int AS n FROM pg_attribute WHERE attrelid = $1::regclass AND attname = $2",
    [table, position],
  );
  const at = rows[0]!.n - 1;
  const pages: Buffer[] = [];
  let page: string[] = [];
  const end = (): void => {
    pages.push(Buffer.from(page.length === 0 ? "" : `${page.join("\n")}\n`, "latin1"));
    page = [];
  };
  for await (const line of copiedOut(db, `COPY (SELECT * FROM ${table} ORDER BY ${position}) TO STDOUT`)) {
    while (pages.length < ends.length - 1 && BigInt(line.split("\t", at + 1)[at]!) > ends[pages.length]!) end();
    page.push(line);
  }
  while (pages.length < ends.length) end();
  return pages;
}

export interface BareOptions {
  /** Entity views, by the name of their tables. */
  readonly views: readonly string[];
  readonly withAudit: boolean;
  readonly batchEvents: number;
}

/** Events a second. */
export async function bareViews(db: Client, { views, withAudit, batchEvents }: BareOptions): Promise<number> {
  await db.query("DROP SCHEMA IF EXISTS bare CASCADE; CREATE SCHEMA bare");
  await db.query(
    "CREATE TABLE bare.checkpoint (name text PRIMARY KEY, position bigint); INSERT INTO bare.checkpoint VALUES ('main', 0)",
  );
  const events = withAudit
    ? "SELECT position FROM tributary.audit"
    : views.map((view) => `SELECT position FROM views."${view}_history"`).join(" UNION ALL ");
  const { rows: positions } = await db.query<[string]>({ text: `${events} ORDER BY position`, rowMode: "array" });
  const count = positions.length;
  const ends: bigint[] = [];
  for (let at = batchEvents; at < count + batchEvents; at += batchEvents)
    ends.push(BigInt(positions[Math.min(at, count) - 1]![0]));

  const claims = await db.query<{ name: string }>(
    "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'views' AND tablename = ANY ($1)",
    [views.map((view) => `${view}_claims`)],
  );
  const appended = new Map<string, Buffer[]>();
  const append = async (name: string, from: Appended, like = from.table): Promise<void> => {
    await db.query(`CREATE TABLE bare.${name} (LIKE ${like} INCLUDING ALL)`);
    appended.set(name, await pagesOf(db, from, ends));
  };
  if (withAudit) await append("audit", { table: "tributary.audit", position: "position" });
  for (const view of views) await append(`${view}_history`, { table: `views.${view}_history`, position: "position" });
  for (const { name } of claims.rows) {
    // A claim has no position of its own, so it gets that of its entity.
    await db.query(
      `CREATE VIEW bare.claimed AS SELECT c.*, v.first_position FROM views.${name} c JOIN views.${name.replace(/_claims$/, "")} v ON v.id = c.entity_id`,
    );
    await db.query(
      `CREATE TABLE bare.${name} (LIKE views.${name} INCLUDING ALL); ALTER TABLE bare.${name} ADD first_position bigint`,
    );
    appended.set(name, await pagesOf(db, { table: "bare.claimed", position: "first_position" }, ends));
    await db.query("DROP VIEW bare.claimed");
  }

  const upserts = [];
  for (const view of views) upserts.push(await upsertsOf(db, view, ends));
  let spentMs = 0;
  for (const [i, end] of ends.entries()) {
    const copies = [...appended].filter(([, pages]) => pages[i]!.length > 0);
    const statements = upserts.map((page) => page(i)).filter((statement) => statement !== null);
    const startedMs = performance.now();
    await db.query("BEGIN");
    for (const [name, pages] of copies)
      await pipeline(Readable.from([pages[i]!]), db.query(copyFrom(`COPY bare.${name} FROM STDIN`)));
    for (const statement of statements) await db.query(statement);
    await db.query("UPDATE bare.checkpoint SET position = $1", [end]);
    await db.query("COMMIT");
    spentMs += performance.now() - startedMs;
  }
  await db.query("DROP SCHEMA bare CASCADE");
  return (count / spentMs) * 1000;
}

interface Upsert {
  readonly name: string;
  readonly text: string;
  readonly values: unknown[][];
}

/** The upsert of each page: of every entity that the page's events are about, its row as it stands at the end. */
async function upsertsOf(db: Client, view: string, ends: readonly bigint[]): Promise<(page: number) => Upsert | null> {
  await db.query(`CREATE TABLE bare."${view}" (LIKE views."${view}" INCLUDING ALL)`);
  const { rows: columns } = await db.query<{ name: string; type: string }>(
    "SELECT column_name AS name, data_type AS type FROM information_schema.columns WHERE table_schema = 'views' AND table_name = $1 ORDER BY ordinal_position",
    [view],
  );
  const { rows } = await db.query<unknown[]>({
    text: `SELECT ${columns.map(({ name }) => `"${name}"::text`).join(", ")} FROM views."${view}"`,
    rowMode: "array",
  });
  const byId = new Map(rows.map((row) => [row[0] as string, row]));
  const written = await db.query<[string, string]>({
    text: `SELECT id, position FROM views."${view}_history" ORDER BY position`,
    rowMode: "array",
  });
  const pages: Set<string>[] = ends.map(() => new Set());
  let page = 0;
  for (const [id, position] of written.rows) {
    while (BigInt(position) > ends[page]!) page++;
    pages[page]!.add(id);
  }
  const text = `INSERT INTO bare."${view}" SELECT * FROM unnest(${columns.map(({ type }, i) => `$${i + 1}::${type}[]`).join(", ")})
    ON CONFLICT (id) DO UPDATE SET ${columns
      .slice(1)
      .map(({ name }) => `"${name}" = excluded."${name}"`)
      .join(", ")}`;
  return (page) => {
    const ids = [...pages[page]!];
    if (ids.length === 0) return null;
    return { name: `bare-${view}`, text, values: columns.map((_, i) => ids.map((id) => byId.get(id)![i])) };
  };
}
