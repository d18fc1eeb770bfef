import {
  deviceOf,
  type Hello,
  type HelloRequest,
  type IncarnationId,
  MAX_MARKS_ASKED,
  type OriginId,
  type Seq,
  type SettledMark,
} from "../core/index.ts";
import { inTime } from "./standing.ts";

/** An event that its device holds to be in quarantine. */
export interface Mark {
  readonly origin: OriginId;
  readonly seq: Seq;
}

/**
 * Which of these events the hub's people have released or rejected, as it was known in this life of the log; `null`: it cannot be said now. The door has no
 * database of its own, so it is handed this.
 */
export type Settled = (marks: readonly Mark[], incarnation: IncarnationId) => Promise<readonly SettledMark[] | null>;

/** A device gets its hello without this rather than late. */
const SETTLED_TIMEOUT_MS = 1_500;
/** So many characters of a rejection's reason are told: an answer must fit a broker's message. */
const MAX_REASON = 300;

/** What a hello says of the device's quarantined events; nothing, where it was not asked or cannot be said now. Never fails. */
export async function settledFor(
  { origin, marks = [] }: HelloRequest,
  incarnation: IncarnationId | null,
  settled: Settled,
): Promise<Pick<Hello, "settled">> {
  // Only its own events: what became of another device's is not its business.
  const own = marks.filter((of) => deviceOf(of.origin) === deviceOf(origin));
  const asked = own.flatMap((of) => of.seqs.map((seq) => ({ origin: of.origin, seq }))).slice(0, MAX_MARKS_ASKED);
  if (asked.length === 0 || incarnation === null) return {};
  try {
    const known = await inTime(settled(asked, incarnation), SETTLED_TIMEOUT_MS, () => new Error("the views are slow"));
    return known === null ? {} : { settled: known.slice(0, MAX_MARKS_ASKED).map(brief) };
  } catch {
    // The views say themselves what is wrong with them. The device asks again with its next hello.
    return {};
  }
}

function brief(mark: SettledMark): SettledMark {
  if (mark.state === "released" || mark.reason === null || mark.reason.length <= MAX_REASON) return mark;
  return { ...mark, reason: `${mark.reason.slice(0, MAX_REASON).toWellFormed()}…` };
}
