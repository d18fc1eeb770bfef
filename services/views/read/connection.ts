import type { Db } from "../connect.ts";

/** Throws where PostgreSQL does not answer. */
export async function answers(db: Db): Promise<void> {
  await db.query("SELECT 1");
}

/** Bounds how long each question on a connection may take; one that takes longer is refused. */
export async function limitQueries(db: Db, timeoutMs: number): Promise<void> {
  await db.query(`SET statement_timeout = ${Math.trunc(timeoutMs)}`);
}
