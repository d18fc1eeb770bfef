/**
 * The door note: what the hub that first takes an event says of it beside its hash. The gate's verdict, how far its device's clock was off, what is taken back of its
 * basis, and which hub says so. All that a fold looks at is in the event or in its note, so replicas that hold both show the same.
 *
 * A hub signs its notes once for each run that it appends. Whoever receives an event keeps the note as it is; nobody makes it again.
 */
import { z } from "zod";
import { clipsToStored } from "./clip.ts";
import type { Appendable } from "./entry.ts";
import type { IncarnationId, Seq } from "./ids.ts";
import { canonicalize, type JsonObject } from "./json.ts";
import { type Signature, signatureSchema } from "./signing.ts";

/** A hub's signature over the notes of a run. It stands on the run's last event. */
export interface Noted {
  /** The hub, by the id of its log's first incarnation. */
  readonly hub: IncarnationId;
  /** The run's first event. */
  readonly from: Seq;
  readonly signature: Signature;
}

const notedSchema = z.strictObject({
  hub: z.string().regex(/^[a-z2-7]{12}$/) as unknown as z.ZodType<IncarnationId>,
  from: z.int().min(0) as unknown as z.ZodType<Seq>,
  signature: signatureSchema,
});

/** Reads a kept signature of notes; `null`: it is malformed. */
export const notedOf = (value: unknown): Noted | null => notedSchema.safeParse(value).data ?? null;

/** What a hub says of one event, in the form that is signed. Members that say nothing are left out. */
const noteOf = ({ content, clock, clips }: Pick<Appendable, "content" | "clock" | "clips">): JsonObject => ({
  ...(content.kind === "accepted" ? {} : { held: { ...content.reason } }),
  ...(clock === null ? {} : { clock: { ...clock } }),
  ...(clips === undefined ? {} : { clipped: clipsToStored(clips) }),
});

/**
 * The text that a hub signs for a run of one origin's consecutive events: their number, their end, and the digest of all their notes.
 * `digest`: SHA-256 of a text, in hexadecimal.
 */
export function notedText(
  { hub, from }: Pick<Noted, "hub" | "from">,
  run: readonly Pick<Appendable, "head" | "content" | "clock" | "clips">[],
  digest: (text: string) => string,
): string {
  const { origin, seq, hash } = run.at(-1)!.head;
  return `tributary door notes\n${hub}\n${origin}\n${from}\n${seq}\n${hash}\n${digest(canonicalize(run.map(noteOf)))}`;
}
