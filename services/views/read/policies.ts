import { type Policy, policySchema } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { millis } from "./sql.ts";

/** A policy as the view of policies shows it. Its members are as they were written. */
export interface PolicyRow {
  readonly name: string;
  readonly for: unknown;
  readonly entities: unknown;
  readonly setBy: string;
  /** ISO 8601. */
  readonly setAt: string;
}

/** All policies that hold, by name. */
export async function policyRows(db: Db): Promise<readonly PolicyRow[]> {
  const { rows } = await db.query<PolicyRow & Record<string, unknown>>(
    `SELECT id AS name, holders AS for, entities, set_by AS "setBy", ${millis("set_at")} AS "setAt"
     FROM views.policies WHERE NOT deleted ORDER BY id`,
  );
  return rows;
}

/** A policy as it is kept; `null`: it cannot be read, and gives nothing. */
export const policyIn = ({ name, for: holders, entities }: PolicyRow): Policy | null =>
  policySchema.safeParse({ name, for: holders, entities }).data ?? null;

/** The policies that hold. One that cannot be read is left out: what no policy gives, nobody gets. */
export const policiesThatHold = async (db: Db): Promise<readonly Policy[]> =>
  (await policyRows(db)).flatMap((row) => policyIn(row) ?? []);
