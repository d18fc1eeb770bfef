/** Opens a case for each fork that the hub's doors have kept the evidence of: two histories that were signed, or sent, under one device's name. */
import { createHash } from "node:crypto";
import type { Client } from "pg";
import { canonicalize, deviceOf, type Fact, isJsonObject, type JsonObject, type JsonValue } from "../core/index.ts";
import { type Fork, forkFacts, type Log } from "../log/index.ts";
import { withoutNul } from "./copy.ts";

interface ForkCase {
  readonly id: string;
  readonly fact: Fact;
  readonly fork: Fork;
}

const digest = (text: string, length: number): string => createHash("sha256").update(text).digest("hex").slice(0, length);

function caseOf(fact: Fact): ForkCase {
  const fork = fact.data as unknown as Fork;
  // The same wherever and however often it is noted.
  return { id: digest(`fork\n${canonicalize([fork.origin, fork.seq, fork.refused] as JsonValue[])}`, 12), fact, fork };
}

const isSigned = ({ refused }: Fork): boolean => refused.signature !== undefined && refused.signature !== null;

const wordsFor = ({ fork }: ForkCase): string =>
  `two histories under one name from seq ${fork.seq} on: the log goes on with the first that came; the other was refused${
    isSigned(fork) ? ", though the device's key has signed it" : ""
  }`;

/** A fact that is none of ours is passed over: it must not stop anybody. */
const isFork = ({ type, data }: Fact): boolean =>
  type === "fork" &&
  typeof data.origin === "string" &&
  data.origin.split(".").length === 4 &&
  Number.isSafeInteger(data.seq) &&
  isJsonObject(data.refused);

/** Evidence as the table can hold it; who reads it by its members would trip over U+0000. */
const kept = (about: JsonObject): string => JSON.stringify(about).replaceAll("\\u0000", "\\ufffd");

/**
 * Brings the cases in line with what the log notes of forks. `whole`: looks at all of it, and takes away what the log has no more; else at what is new only.
 * Each statement stands for itself, so that it may run inside a transaction of the caller's, and by several processes at once.
 */
export async function takeForks(db: Client, { journal }: Pick<Log, "journal">, whole: boolean): Promise<void> {
  const { rows } = await db.query<{ next: string }>("SELECT coalesce(max(revision) + 1, 0) AS next FROM tributary.fork_case");
  const facts = await forkFacts(journal, whole ? 0 : Number(rows[0]!.next));
  const cases = facts.filter(isFork).map(caseOf);
  if (whole) await db.query("DELETE FROM tributary.fork_case WHERE id <> ALL($1)", [cases.map(({ id }) => id)]);
  for (const each of cases) {
    const { id, fact, fork } = each;
    const about = { ...fork } as unknown as JsonObject;
    await db.query(
      `INSERT INTO tributary.fork_case (id, revision, device, origin, says, about, mark, opened_position, opened_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, opened_position = excluded.opened_position`,
      [
        ...[id, fact.revision, withoutNul(deviceOf(fork.origin)), withoutNul(fork.origin), wordsFor(each), kept(about)],
        ...[digest(JSON.stringify(about), 16), fact.position.toString(), new Date(fact.recordedAtMs).toISOString()],
      ],
    );
  }
}
