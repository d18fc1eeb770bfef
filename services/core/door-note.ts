/**
 * The door note: what the hub that first takes an event says of it beside its hash. The gate's verdict, how far its device's clock was off, what is taken back of its
 * basis, and which hub says so. All that a fold looks at is in the event or in its note, so replicas that hold both show the same.
 *
 * A hub signs its notes once for each run that it appends. Whoever receives an event keeps the note as it is; nobody makes it again.
 */
import { z } from "zod";
import { clipsToStored } from "./clip.ts";
import type { Appendable, Noted } from "./entry.ts";
import { assert } from "./errors.ts";
import type { IncarnationId, Seq } from "./ids.ts";
import { canonicalize, type JsonObject } from "./json.ts";
import { signatureSchema } from "./signing.ts";

const notedSchema = z.strictObject({
  hub: z.string().regex(/^[a-z2-7]{12}$/) as unknown as z.ZodType<IncarnationId>,
  from: z.int().min(0) as unknown as z.ZodType<Seq>,
  signature: signatureSchema,
});

/** Reads a kept signature of notes; `null`: it is malformed. */
export const notedOf = (value: unknown): Noted | null => notedSchema.safeParse(value).data ?? null;

/** Of an event what its note is made of. */
export type Noteworthy = Pick<Appendable, "head" | "content" | "clock" | "clips">;

/** What a hub says of one event, in the form that is signed. Members that say nothing are left out. */
const noteOf = ({ content, clock, clips }: Noteworthy): JsonObject => ({
  ...(content.kind === "accepted" ? {} : { held: { ...content.reason } }),
  ...(clock === null ? {} : { clock: { ...clock } }),
  ...(clips === undefined ? {} : { clipped: clipsToStored(clips) }),
});

/**
 * The text that a hub signs for a run of one origin's consecutive events: their number, their end, and the digest of all their notes.
 * `digest`: SHA-256 of a text, in hexadecimal.
 */
export function notedText(hub: IncarnationId, run: readonly Noteworthy[], digest: (text: string) => string): string {
  const [first, last] = [run[0], run.at(-1)];
  assert(first !== undefined && last !== undefined, "a run holds events");
  const { origin, seq, hash } = last.head;
  const notes = digest(canonicalize(run.map(noteOf)));
  return `tributary door notes\n${hub}\n${origin}\n${first.head.seq}\n${seq}\n${hash}\n${notes}`;
}
