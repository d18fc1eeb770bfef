import {
  type Incarnation,
  type IncarnationId,
  isIncarnationId,
  isJsonObject,
  type Journal,
  type NewIncarnation,
} from "../core/index.ts";
import { randomEpoch } from "../core/node.ts";

/** The stream in which a log keeps its lives. It is in the log itself, so a restored log has the lives of its backup. */
export const INCARNATION_STREAM = "incarnations";
const BEGAN = "incarnation.began";
const CONFIRMED = "incarnation.confirmed";
/** When two processes begin a life at the same time, the later one looks again. Losing more races than this is not an accident. */
const MAX_RACES = 20;

/**
 * The lives of a log, oldest first; the last is the present one.
 *
 *   none ── first hub ─▶ first ── restored from a backup: declared, or noticed ─▶ the next … ── an operator has looked ─▶ confirmed
 */
export async function incarnations(journal: Journal): Promise<Incarnation[]> {
  const lives: Incarnation[] = [];
  for (const { type, data, by, position, recordedAtMs } of await journal.read(INCARNATION_STREAM)) {
    const { id } = data;
    if (typeof id !== "string" || !isIncarnationId(id)) continue;
    if (type === CONFIRMED) {
      const at = lives.findIndex((life) => life.id === id);
      if (at >= 0) lives[at] = { ...lives[at]!, isConfirmed: true };
    }
    if (type !== BEGAN) continue;
    const { how, note, seenEnd } = data;
    lives.push({
      id,
      how: how === "first" || how === "restored" || how === "declared" ? how : "detected",
      by: isJsonObject(by) && typeof by.actor === "string" ? by.actor : "",
      note: typeof note === "string" ? note : null,
      seenEnd: typeof seenEnd === "string" && /^\d+$/.test(seenEnd) ? seenEnd : null,
      isConfirmed: how !== "detected",
      position,
      beganAtMs: recordedAtMs,
    });
  }
  return lives;
}

/** The log's present incarnation; a log that has none begins its first. */
export async function currentIncarnation(journal: Journal): Promise<Incarnation> {
  for (let races = 0; ; races++) {
    const last = (await incarnations(journal)).at(-1);
    if (last !== undefined) return last;
    await begin(journal, -1, { how: "first", by: "hub" });
    if (races >= MAX_RACES) throw new Error("invariant broken: a log that was given an incarnation has one");
  }
}

/** Begins a new incarnation after `after`, unless somebody else has begun one since. Returns the present incarnation. */
export async function beginIncarnation(journal: Journal, after: IncarnationId, next: NewIncarnation): Promise<Incarnation> {
  for (let races = 0; races < MAX_RACES; races++) {
    const facts = await journal.read(INCARNATION_STREAM);
    const present = await currentIncarnation(journal);
    if (present.id !== after) return present;
    if (await begin(journal, facts.length - 1, next)) return currentIncarnation(journal);
  }
  throw new Error("invariant broken: somebody who is always first has begun the incarnation");
}

/** Notes that an operator knows of an incarnation that began because the log was found to be behind. */
export async function confirmIncarnation(journal: Journal, id: IncarnationId, by: string): Promise<void> {
  await journal.append(INCARNATION_STREAM, "any", { type: CONFIRMED, data: { id }, by: { actor: by } });
}

async function begin(journal: Journal, after: number, { how, by, note, seenEnd }: NewIncarnation): Promise<boolean> {
  const data = {
    id: randomEpoch(),
    how,
    ...(note === undefined ? {} : { note }),
    ...(seenEnd === undefined ? {} : { seenEnd }),
  };
  return (await journal.append(INCARNATION_STREAM, after, { type: BEGAN, data, by: { actor: by } })) !== null;
}
