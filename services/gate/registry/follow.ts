import { type Fact, type Journal, messageOf } from "../../core/index.ts";
import { INDEX, type Known, SCHEMA_PREFIX, streamOf } from "./known.ts";

/** A look at the log after a lost link, where that fails, is tried again after this. */
const REVIEW_PAUSE_MS = 1_000;

const byPosition = (a: Fact, b: Fact): number => (a.position < b.position ? -1 : 1);

/** Reads all that the log has of schemas, and follows it from there until `signal`. */
export async function followLog(
  journal: Journal,
  known: Known,
  { signal, onInterruption }: { readonly signal: AbortSignal; readonly onInterruption?: (message: string) => void },
): Promise<void> {
  // Facts may be read again, in their order: applied again they say the same.
  const apply = (fact: Fact): void => {
    if (fact.stream === INDEX) known.applyIndex(fact);
    else if (fact.stream.startsWith(SCHEMA_PREFIX)) known.applySchema(fact);
  };
  const reviewed = (): void => {
    if (signal.aborted) return;
    review(journal, known).catch((error: unknown) => {
      onInterruption?.(messageOf(error));
      setTimeout(reviewed, REVIEW_PAUSE_MS).unref();
    });
  };
  // The position first: what is written while the streams are read is followed from here.
  const after = await journal.end();
  const index = await journal.read(INDEX);
  const subjects = new Set<string>();
  for (const { type, data } of index)
    if (type === "subject-added" && typeof data.subject === "string") subjects.add(data.subject);
  // A schema may refer to one of another subject: all facts in log order.
  const facts = (await Promise.all([...subjects].map((subject) => journal.read(streamOf(subject))))).flat();
  for (const fact of [...index, ...facts].sort(byPosition)) apply(fact);
  journal.follow({
    prefixes: [SCHEMA_PREFIX, INDEX],
    after,
    signal,
    onFact: apply,
    onResumed: reviewed,
    ...(onInterruption === undefined ? {} : { onInterruption }),
  });
}

/**
 * The link was lost and is there again, maybe to a log that was set back. What the log has no more is forgotten: versions, so that they can be registered again;
 * levels, modes, hidden versions and proposals, so that this process goes by what any other reads there.
 */
async function review(journal: Journal, known: Known): Promise<void> {
  await reviewIndex(journal, known);
  for (const [subject, entries] of [...known.all()]) {
    const there = await journal.read(streamOf(subject));
    const lost = entries.findIndex(({ position }, i) => there[i]?.position !== position);
    // What was registered meanwhile is known already, or follows.
    if (lost >= 0 && known.entries(subject) === entries) {
      known.keep(subject, entries.slice(0, lost));
      known.tell(subject);
    }
    for (const fact of there) known.applySchema(fact);
  }
}

async function reviewIndex(journal: Journal, known: Known): Promise<void> {
  let [before, there] = [known.indexFacts(), await journal.read(INDEX)];
  // What came meanwhile is perhaps not among what was read.
  while (before !== known.indexFacts()) [before, there] = [known.indexFacts(), await journal.read(INDEX)];
  const named = [...known.all().keys(), ...known.clearIndex()];
  for (const fact of there) known.applyIndex(fact);
  // What the log no longer holds does not count as told.
  for (const subject of new Set(named)) known.tell(subject);
}
