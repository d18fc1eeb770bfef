import { type Refusal, TributaryError } from "../../core/index.ts";
import { unprovenWords } from "../keys.ts";
import { moveOn } from "../move.ts";
import type { MarkRow, OriginRow } from "../rows.ts";
import type { Store } from "../store.ts";
import { away, type Transport } from "../way.ts";
import { align, moveCopy } from "./align.ts";
import { type Course, courseFrom, nextCut } from "./course.ts";
import { type Flight, launch } from "./flight.ts";
import { askAgain, type Pass, sinceOf } from "./pass.ts";

/** If the same gap, or the same fork without a difference, comes so often in a row, something is broken that sending does not mend. */
const MAX_REFUSALS = 3;
/**
 * If hubs call so many events unreadable or damaged, one after the other and with none taken between them, the events are not at fault. Otherwise a hub that is too old
 * for this program would have all of them set aside.
 */
const MAX_UNREADABLE_IN_A_ROW = 20;
const UNREADABLE_META = "unreadable_in_a_row";

/** Refusals because of what a batch holds. The batch is halved until one event is left; that event is set aside, and the rest is sent. */
const IN_THE_BATCH: readonly string[] = ["batch-undecodable", "batch-too-large", "event-too-large", "chain-broken"];

/** A frame, and what the hub said about it. */
export interface Refused {
  readonly first: Flight;
  readonly reply: Refusal;
}

/** Does what a refusal calls for. `moved`: the rest of the epoch was written again under another name; otherwise the sending goes on as `course` says. */
export async function afterRefusal(pass: Pass, at: OriginRow, course: Course, answer: Refused): Promise<"moved" | "goes on"> {
  const { first, reply } = answer;
  if (IN_THE_BATCH.includes(reply.code)) return narrowDown(pass, at.id, course, answer);
  if (reply.code === "schema-unknown") {
    pass.avro = {};
    course.nextSeq = Math.min(first.firstSeq, (reply.through ?? -1) + 1);
  } else if (reply.code === "batch-gap" || reply.code === "origin-forked") {
    const { hello, isOurs } = await askAgain(pass, { origin: at.name, since: sinceOf(at) });
    await align(pass, at.id, hello, isOurs);
    if (pass.origin(at.id).keptThrough !== at.keptThrough) return "moved";
    if (reply.code === "origin-forked" && !isOurs) {
      // This hub cannot be asked for hashes: what it gave a receipt for is shared, and so is what went before this batch.
      moveCopy(pass, at.id, Math.max(at.syncedThrough, first.firstSeq - 1));
      return "moved";
    }
    course.nextSeq = Math.min(first.firstSeq, (hello.receipt.through ?? -1) + 1);
  } else {
    throw refused(reply);
  }
  if (++course.refusals >= MAX_REFUSALS) throw refused(reply);
  return "goes on";
}

/** Halves what was refused, down to one event; that event is set aside. */
async function narrowDown(pass: Pass, id: number, course: Course, { first, reply }: Refused): Promise<"moved" | "goes on"> {
  const count = first.lastSeq - first.firstSeq + 1;
  course.nextSeq = first.firstSeq;
  if (count > 1) {
    if (reply.code === "batch-too-large") pass.maxBytes = Math.ceil(first.bytes / 2);
    course.narrow = { events: Math.ceil(count / 2), until: first.lastSeq };
    return "goes on";
  }
  // Nobody has signed the refusal, and nothing shows that this way carries any batch: no event is set aside because of it.
  if (pass.transport.identity.isPinned && reply.signature === undefined && !course.hasReceipt)
    throw away("the way to the hub does not carry the batch", refused(reply));
  if (isUnreadable(reply) && course.refusedAlone !== first.firstSeq) {
    // It is sent once more, after a check of the row: it may have been damaged on its way.
    course.refusedAlone = first.firstSeq;
    course.narrow = { events: 1, until: first.firstSeq };
    return "goes on";
  }
  if (isUnreadable(reply)) countUnreadable(pass.store, reply);
  return putAside(pass, id, course, { seq: first.firstSeq, code: reply.code, reason: reply.message });
}

/** Sets an event aside and moves the rest on; or, if the log has it after all, goes on behind what the log has. */
export async function putAside(
  pass: Pass,
  id: number,
  course: Course,
  { seq, code, reason }: MarkRow,
): Promise<"moved" | "goes on"> {
  const through = await afterAllSent(pass, id, seq, course.hasReceipt);
  if (pass.origin(id).lastSeq < seq) return "moved";
  if (through >= seq) {
    course.nextSeq = through + 1;
    return "goes on";
  }
  const moved = moveOn(pass.store, { originId: id, keptThrough: seq - 1, aside: { code, reason }, isShared: false });
  pass.tally.moved += moved.events;
  pass.tally.setAside.push(...moved.aside);
  return "moved";
}

export const noReply = (transport: Transport): TributaryError =>
  transport.isOpen
    ? new TributaryError(
        "backend-unreachable",
        `the broker has taken the events, but the hub has not confirmed them yet${unprovenWords(transport.identity.unproven)}`,
        "They are safe on this device and will be sent again; sync later.",
      )
    : away("the link was lost", new Error("before the hub had answered"));

const refused = ({ code, message, hint }: Refusal): TributaryError => new TributaryError(code, message, hint);

const isUnreadable = ({ code }: Refusal): boolean => code === "batch-undecodable" || code === "chain-broken";

function countUnreadable(store: Store, reply: Refusal): void {
  const before = Number(store.meta(UNREADABLE_META) ?? 0);
  if (before >= MAX_UNREADABLE_IN_A_ROW) throw refused(reply);
  store.transaction(() => store.setMeta(UNREADABLE_META, String(before + 1)));
}

export function forgetUnreadable(store: Store): void {
  if ((store.meta(UNREADABLE_META) ?? "0") !== "0") store.transaction(() => store.setMeta(UNREADABLE_META, "0"));
}

/**
 * Where the log stands once all that was ever sent of the epoch has been handled: what the broker may still hold must not come into the log under its old name
 * after it was written again under a new one. A device's batches are handled in their order, so the receipt of any later one will do.
 */
async function afterAllSent(pass: Pass, id: number, seq: number, hasReceipt: boolean): Promise<number> {
  const at = pass.origin(id);
  if (!hasReceipt && at.offeredThrough >= seq && seq > 0) {
    const barrier = nextCut(pass, { ...at, lastSeq: seq - 1 }, courseFrom(seq - 1));
    if (barrier.kind === "frame") {
      const flight = launch(pass, id, { frame: barrier.frame, first: seq - 1, last: seq - 1, flights: [] });
      await flight.taken;
      if ((await flight.reply) === null) throw noReply(pass.transport);
    }
  }
  const { hello, isOurs } = await askAgain(pass, { origin: at.name, since: sinceOf(at) });
  await align(pass, id, hello, isOurs);
  return hello.receipt.through ?? -1;
}
