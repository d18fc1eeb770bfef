import { z } from "zod";
import {
  type Hash,
  hashSchema,
  type Incarnation,
  type IncarnationId,
  isIncarnationId,
  isOriginId,
  type Journal,
  type JsonObject,
  KEYS_STREAM,
  type LogEntry,
  messageText,
  type OriginId,
  type Position,
  type PublicKey,
  positionFromText,
  positionToText,
  type Seq,
  type Signature,
  type Signer,
  signatureSchema,
} from "../core/index.ts";
import { isSignedBy, keyIdOf } from "../core/node.ts";
import { incarnations } from "./incarnation.ts";

/** What an anchor needs of the log. */
export interface AnchoredLog {
  readonly journal: Journal;
  at(origin: OriginId, seq: Seq): Promise<LogEntry | null>;
  readAll(options: { readonly from: Position | null }): AsyncGenerator<LogEntry>;
}

/** How many heads are looked up at the same time. */
const AT_ONCE = 32;
/** How many of the origins whose heads the log lacks are named; all are counted. */
const MAX_NAMED = 5;

/** Where an origin stood: its last event, that event's hash and its position. */
export type AnchoredHead = readonly [seq: Seq, hash: Hash, position: string];

/**
 * What a hub keeps about its log outside of its data folder: where the log ended. Somebody who sets back log and database together cannot set the anchor back, if it is
 * where they cannot write.
 */
export interface Anchor {
  readonly version: 1;
  /** ISO 8601. */
  readonly at: string;
  /** The life of the log that positions belong to, and all lives, oldest first. */
  readonly incarnation: IncarnationId;
  readonly lives: readonly IncarnationId[];
  /** The position of the last event of any origin; `null`: there was none. */
  readonly position: string | null;
  /** How many facts about keys there were. */
  readonly keyFacts: number;
  readonly heads: Readonly<Record<OriginId, AnchoredHead>>;
  /** The hub's signature. */
  readonly signature: Signature;
}

const decimal = z.string().refine((text) => positionFromText(text) !== null, "is a position");
const life = z.string().refine(isIncarnationId, "is an incarnation");
const anchorSchema = z.object({
  version: z.literal(1),
  at: z.iso.datetime(),
  incarnation: life,
  lives: z.array(life),
  position: decimal.nullable(),
  keyFacts: z.int().nonnegative(),
  heads: z.record(z.string().refine(isOriginId, "is an origin"), z.tuple([z.int().nonnegative(), hashSchema, decimal])),
  signature: signatureSchema,
});

/** An anchor that was read, or why it cannot be believed. */
export type ReadAnchor = { readonly anchor: Anchor } | { readonly problem: string };

/** Reads an anchor's text, and checks it against the hub's keys. */
export function parseAnchor(text: string, hubKeys: readonly PublicKey[]): ReadAnchor {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { problem: "it is not JSON" };
  }
  const parsed = anchorSchema.safeParse(value);
  if (!parsed.success)
    return { problem: `it is not an anchor: ${z.prettifyError(parsed.error).replaceAll("\n", " ").slice(0, 300)}` };
  // The schema has just checked it.
  const anchor = parsed.data as unknown as Anchor;
  const key = hubKeys.find((known) => keyIdOf(known) === anchor.signature.kid);
  if (key === undefined) return { problem: "none of this hub's keys has signed it" };
  return isSignedBy(key, messageText("anchor", anchor), anchor.signature)
    ? { anchor }
    : { problem: "it is not what the hub signed" };
}

/** Signs an anchor with the hub's key. */
export async function signAnchor(anchor: Omit<Anchor, "signature">, signer: Signer): Promise<Anchor> {
  return { ...anchor, signature: await signer.sign(messageText("anchor", anchor)) };
}

/** How the present log compares with its anchor. */
export type AnchorState =
  /** The log holds all that the anchor says. */
  | "holds"
  /** The log was restored since, and an operator has declared that. */
  | "declared"
  /** The log holds less; that was noticed before, and nobody has confirmed it. */
  | "noticed"
  | "set-back"
  /** It is another log. */
  | "replaced";

export interface AnchorComparison {
  readonly state: AnchorState;
  /** How many origins have last events that the log lacks, or in whose place it has others. */
  readonly lacking: number;
  readonly named: readonly string[];
  readonly says: string;
}

/** What follows from the log's lives alone; `null`: the log is in the anchor's life, and must hold all that the anchor says. */
function byLives({ lives: known, incarnation }: Anchor, lives: readonly Incarnation[]): AnchorState | null {
  const present = lives.at(-1);
  if (present === undefined) return "replaced";
  if (present.id === incarnation) return null;
  if (known.includes(present.id)) return "set-back";
  if (present.how === "first") return "replaced";
  return present.how === "detected" && !present.isConfirmed ? "noticed" : "declared";
}

/** The verdict on a log, once it is known which heads it lacks. */
export function judge(
  anchor: Anchor,
  lives: readonly Incarnation[],
  lacking: readonly string[],
  keyFacts: number,
): AnchorComparison {
  const alone = byLives(anchor, lives);
  const lost = lacking.length > 0 || keyFacts < anchor.keyFacts;
  const state = alone ?? (lost ? "set-back" : "holds");
  const origins = `${lacking.length} of ${Object.keys(anchor.heads).length} origins`;
  const when = `of ${anchor.at.slice(0, 16).replace("T", " ")} UTC`;
  const lack =
    lacking.length > 0
      ? `it lacks the last events of ${origins}, or has others in their place (${lacking.slice(0, MAX_NAMED).join(", ")})`
      : keyFacts < anchor.keyFacts
        ? `it has ${keyFacts} facts about keys, and had ${anchor.keyFacts} then: revocations may be lost`
        : "it is in an earlier life than then";
  const present = lives.at(-1);
  const says: Record<AnchorState, string> = {
    holds: `the log holds all that its anchor ${when} says`,
    declared: `the log was ${present?.how ?? "restored"} by ${present?.by ?? "somebody"} since its anchor ${when}; what that says of ${origins} is not in it, or not again yet`,
    noticed: `the log holds less than its anchor ${when} says, and no operator has confirmed it: ${lack}`,
    "set-back": `the log holds less than its anchor ${when} says, and nobody has declared a restore: ${lack}`,
    replaced: `this is another log than the one of its anchor ${when}, and nobody has declared a restore: ${lack}`,
  };
  return { state, lacking: lacking.length, named: lacking.slice(0, MAX_NAMED), says: says[state] };
}

/** How many facts about keys the log has. */
export const keyFactsOf = async ({ journal }: Pick<AnchoredLog, "journal">): Promise<number> =>
  (await journal.read(KEYS_STREAM)).length;

/** Compares the log with an anchor: looks up each head, the latest first. */
export async function compareWithAnchor(log: AnchoredLog, anchor: Anchor): Promise<AnchorComparison> {
  const heads = Object.entries(anchor.heads) as [OriginId, AnchoredHead][];
  heads.sort(([, [, , a]], [, [, , b]]) => (BigInt(a) > BigInt(b) ? -1 : 1));
  const lacking: string[] = [];
  for (let from = 0; from < heads.length; from += AT_ONCE) {
    const some = heads.slice(from, from + AT_ONCE);
    const found = await Promise.all(some.map(([origin, [seq]]) => log.at(origin, seq)));
    for (const [i, entry] of found.entries()) {
      const [origin, [seq, hash]] = some[i]!;
      if (entry?.head.seq !== seq || entry.head.hash !== hash) lacking.push(`${origin}/${seq}`);
    }
  }
  return judge(anchor, await incarnations(log.journal), lacking, await keyFactsOf(log));
}

/** The heads of a log, as they move while the log is followed. */
export type Heads = Map<OriginId, AnchoredHead>;
export const headsOf = (anchor: Anchor): Heads => new Map(Object.entries(anchor.heads) as [OriginId, AnchoredHead][]);

/** Reads on from `from`, and moves the heads. Returns the position reached; `null`: the events do not continue the known heads, so this is another log. `signal` ends the reading early. */
export async function followHeads(
  log: AnchoredLog,
  heads: Heads,
  from: Position | null,
  signal?: AbortSignal,
): Promise<{ readonly position: Position | null } | null> {
  let position = from;
  for await (const { head, position: at } of log.readAll({ from })) {
    if (signal?.aborted) break;
    const known = heads.get(head.origin);
    if (known !== undefined && head.seq <= known[0]) {
      if (head.seq === known[0] && head.hash !== known[1]) return null;
      continue;
    }
    if (head.seq !== (known === undefined ? 0 : known[0] + 1) || (known !== undefined && head.prev !== known[1])) return null;
    heads.set(head.origin, [head.seq, head.hash, positionToText(at)]);
    position = at;
  }
  return { position };
}

/** An anchor's text. */
export const anchorText = (anchor: Anchor): string => `${JSON.stringify(anchor as unknown as JsonObject)}\n`;
