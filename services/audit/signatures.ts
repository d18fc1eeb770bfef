import {
  deviceOf,
  type EnrolledKey,
  type Fact,
  hubSignatureOf,
  isOwnOrigin,
  KEYS_STREAM,
  keyFactOf,
  keyRecord,
  type LogEntry,
  messageText,
  type OriginId,
  type PublicKey,
  runText,
  type Seq,
  type Signature,
} from "../core/index.ts";
import { isSignedBy, keyIdOf } from "../core/node.ts";
import { hubDeclarations, type Log } from "../log/index.ts";
import { type NoteReport, noteCheck } from "./notes.ts";

/** A process of the hub hears of a revocation at most this much later. What it took until then stays. */
const HEARD_MS = 60_000;
/** Batches that were on their way when their device got its key came without a signature. After this time no such batch is on its way. */
const UNSIGNED_GRACE_MS = 3_600_000;

export interface SignatureReport {
  /** Good signatures of runs. Each covers all events of its origin up to there. */
  readonly runs: number;
  /** Events that no later signature covers: from devices that have no key, or from before there were keys. */
  readonly unsigned: number;
  /** Facts about keys that the hub's keys have signed. `null`: the hub's keys were not given. */
  readonly facts: number | null;
  /** What hubs have signed of their notes. */
  readonly notes: NoteReport;
}

export interface SignatureCheck {
  entry(entry: LogEntry): void;
  /** The last event of an origin that a good signature covers; `null`: none. */
  signedThrough(origin: OriginId): Seq | null;
  end(): SignatureReport;
}

interface Tail {
  first: Seq;
  last: Seq;
  events: number;
  recordedAtMs: number;
}

/**
 * Checks the signatures in the log against the keys that were enrolled when they were written. Whoever rewrites events can make their hashes again, but not
 * these. `hubKeys`: the hub's public keys, known from a source other than the log. With them, the facts about keys are checked too.
 */
export async function signatureCheck(
  log: Log,
  report: (where: string, what: string) => void,
  hubKeys?: readonly PublicKey[],
): Promise<SignatureCheck> {
  const record = keyRecord();
  let facts = 0;
  for (const fact of await log.journal.read(KEYS_STREAM)) {
    if (fact.revision !== record.revision) report(`${KEYS_STREAM}/${fact.revision}`, "a fact about keys is missing before it");
    record.apply(fact);
    if (hubKeys === undefined) continue;
    const wrong = factProblem(fact, hubKeys);
    if (wrong === null) facts++;
    else report(`${KEYS_STREAM}/${fact.revision}`, wrong);
  }
  const notes = noteCheck(
    {
      keys: () => [...(hubKeys ?? []), ...record.hubKeys().map(({ key }) => key)],
      signedFrom: () => record.notesSignedFrom(),
    },
    report,
  );
  const hubs = (await hubDeclarations(log.journal)).map(({ org }) => org);
  /** The hub's own processes append there: what they sign is their notes, which cover the end of the run. */
  const isHubs = (origin: OriginId): boolean => hubs.some((org) => isOwnOrigin(origin, org));
  const tails = new Map<OriginId, Tail>();
  const good = new Map<OriginId, Seq>();
  let runs = 0;
  let unsigned = 0;

  return {
    entry(entry) {
      notes.entry(entry);
      const { origin, seq } = entry.head;
      if (entry.noted !== undefined && isHubs(origin)) tails.delete(origin);
      else if (entry.signed === undefined) {
        const tail = tails.get(origin) ?? { first: seq, last: seq, events: 0, recordedAtMs: 0 };
        tails.set(origin, { ...tail, last: seq, events: tail.events + 1, recordedAtMs: entry.recordedAtMs });
        return;
      }
      if (entry.signed === undefined) return;
      tails.delete(origin);
      const wrong = runProblem(entry, entry.signed, record.keysOf(deviceOf(origin)));
      if (wrong === null) {
        runs++;
        good.set(origin, seq);
      } else report(`${origin}/${seq}`, wrong);
    },
    signedThrough: (origin) => good.get(origin) ?? null,
    end() {
      for (const [origin, { first, last, events, recordedAtMs }] of tails) {
        unsigned += events;
        const [key] = record.keysOf(deviceOf(origin));
        if (key !== undefined && recordedAtMs > key.atMs + UNSIGNED_GRACE_MS)
          report(
            `${origin}/${first}–${last}`,
            "nobody has signed these events, though their device had a key: a run was cut short, or its signature was removed",
          );
      }
      return { runs, unsigned, facts: hubKeys === undefined ? null : facts, notes: notes.end() };
    },
  };
}

function runProblem({ head, position, recordedAtMs }: LogEntry, signed: Signature, keys: readonly EnrolledKey[]): string | null {
  // A key may have been revoked and enrolled again since. The last fact before the event counts.
  const key = keys.findLast(({ kid, position: enrolled }) => kid === signed.kid && enrolled <= position);
  if (key === undefined) return "its run is signed by a key that was not enrolled for its device then";
  const { ended } = key;
  if (ended !== null && ended.why !== "rotated" && ended.position < position && recordedAtMs > ended.atMs + HEARD_MS)
    return `its run is signed by a key that was ${ended.why} before`;
  const text = runText({ origin: head.origin, through: head.seq, head: head.hash });
  return isSignedBy(key.key, text, signed)
    ? null
    : "its run is not what the device signed: the events up to here were altered, or some of them";
}

function factProblem({ revision, type, data }: Fact, hubKeys: readonly PublicKey[]): string | null {
  const signature = hubSignatureOf(data);
  if (signature === null) return `${type} is not signed by the hub`;
  const key = hubKeys.find((known) => keyIdOf(known) === signature.kid);
  if (key === undefined) return `${type} is signed by a key that is not one of the hub's`;
  return isSignedBy(key, messageText("key-fact", keyFactOf(revision, type, data)), signature)
    ? null
    : `${type} is not what the hub signed`;
}
