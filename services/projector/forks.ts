/** Opens a case for each fork of which the hub's doors have kept evidence: two histories that were signed or sent under one device's name. */
import { createHash } from "node:crypto";
import { canonicalize, deviceOf, type Fact, isJsonObject, type JsonObject, type JsonValue } from "../core/index.ts";
import { type Fork, forkFacts, type Log } from "../log/index.ts";
import { type Db, dropForkCasesBut, nextForkRevision, writeForkCase } from "../views/index.ts";

interface ForkCase {
  readonly id: string;
  readonly fact: Fact;
  readonly fork: Fork;
}

const digest = (text: string, length: number): string => createHash("sha256").update(text).digest("hex").slice(0, length);

function caseOf(fact: Fact): ForkCase {
  const fork = fact.data as unknown as Fork;
  // The id is the same, wherever and however often the fork is noted.
  return { id: digest(`fork\n${canonicalize([fork.origin, fork.seq, fork.refused] as JsonValue[])}`, 12), fact, fork };
}

const isSigned = ({ refused }: Fork): boolean => refused.signature !== undefined && refused.signature !== null;

const wordsFor = ({ fork }: ForkCase): string =>
  `two histories under one name from seq ${fork.seq} on: the log goes on with the first that came; the other was refused${
    isSigned(fork) ? ", though the device's key has signed it" : ""
  }`;

/** Whether a fact has the form of a fork. Others are passed over: they must not stop anybody. */
const isFork = ({ type, data }: Fact): boolean =>
  type === "fork" &&
  typeof data.origin === "string" &&
  data.origin.split(".").length === 4 &&
  Number.isSafeInteger(data.seq) &&
  isJsonObject(data.refused);

/**
 * Brings the cases in line with the log's facts about forks. `whole`: looks at all facts, and deletes cases that the log no longer has; else looks at new facts only.
 * No statement depends on another, so this may run inside the caller's transaction, and in several processes at once.
 */
export async function takeForks(db: Db, { journal }: Pick<Log, "journal">, whole: boolean): Promise<void> {
  const facts = await forkFacts(journal, whole ? 0 : await nextForkRevision(db));
  const cases = facts.filter(isFork).map(caseOf);
  if (whole)
    await dropForkCasesBut(
      db,
      cases.map(({ id }) => id),
    );
  for (const each of cases) {
    const { id, fact, fork } = each;
    const about = { ...fork } as unknown as JsonObject;
    await writeForkCase(db, {
      id,
      revision: fact.revision,
      device: deviceOf(fork.origin),
      origin: fork.origin,
      says: wordsFor(each),
      about,
      mark: digest(JSON.stringify(about), 16),
      position: fact.position,
      recordedAtMs: fact.recordedAtMs,
    });
  }
}
