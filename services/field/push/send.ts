import type { Receipt } from "../../core/index.ts";
import { align, confirm, confirmedBy } from "./align.ts";
import { courseFrom, nextCut } from "./course.ts";
import { type Flight, flyingBytes, launch, noteTaken } from "./flight.ts";
import { askAgain, type Pass, sinceOf } from "./pass.ts";
import { afterRefusal, forgetUnreadable, noReply, putAside } from "./refusal.ts";

/**
 * Sends an epoch's events, until each has its receipt:
 *
 *   sending ⇄ confirmed … ─▶ done
 *     ├ unknown schema ─▶ sending as JSON
 *     ├ gap, fork ─▶ asked where the log stands ─▶ sending from there, or moved on under a fresh epoch, which `pushAll` sends next
 *     ├ refused for what is in the batch ─▶ halved … down to one event ─▶ set aside, the rest moved on
 *     ├ an event that cannot be read, or is too large for any frame ─▶ those before it confirmed ─▶ set aside, the rest moved on
 *     └ anything else ─▶ error
 */
export async function pushOrigin(pass: Pass, id: number, isAligned: boolean): Promise<void> {
  const { options, transport, pace } = pass;
  if (!isAligned) {
    const { hello, isOurs } = await askAgain(pass, { origin: pass.origin(id).name, since: sinceOf(pass.origin(id)) });
    await align(pass, id, hello, isOurs);
  }
  const course = courseFrom(options.again ? 0 : pass.origin(id).syncedThrough + 1);
  const flights: Flight[] = [];
  try {
    for (;;) {
      options.signal?.throwIfAborted();
      const at = pass.origin(id);
      if (course.narrow !== null && course.nextSeq > course.narrow.until) course.narrow = null;
      const hasMore = course.nextSeq <= at.lastSeq && flights.length < (course.narrow === null ? transport.window : 1);
      if (hasMore && pace.mayFly(flyingBytes(flights))) {
        const cut = nextCut(pass, at, course);
        if (cut.kind === "frame") {
          const last = course.nextSeq + cut.batch.events.length - 1;
          flights.push(launch(pass, id, { frame: cut.frame, first: course.nextSeq, last, flights }));
          course.nextSeq = last + 1;
          continue;
        }
        if (flights.length === 0) {
          if ((await putAside(pass, id, course, cut)) === "moved") return;
          continue;
        }
      }
      const first = (hasMore ? flights.find(({ isTaken }) => !isTaken) : undefined) ?? flights[0];
      if (first === undefined) return;
      const wasFlying = !first.isTaken;
      await first.taken;
      // There may be room for another frame now.
      if (hasMore && wasFlying) continue;
      const reply = await first.reply;
      if (reply === null) throw noReply(transport);
      noteTaken(pass, id, flights);
      flights.shift();
      if (reply.kind === "receipt") {
        course.refusals = 0;
        course.hasReceipt = true;
        received(pass, id, first, reply);
        continue;
      }
      await Promise.all(flights.splice(0).map((flight) => flight.reply));
      if ((await afterRefusal(pass, at, course, { first, reply })) === "moved") return;
    }
  } catch (error) {
    const lost = flights.find(({ isTaken }) => !isTaken);
    if (lost !== undefined) pace.cut(lost.bytes);
    noteTaken(pass, id, flights);
    throw error;
  }
}

/** The log may hold more than the batch: our own events, or those of a copy that has written on. Only what is provably ours counts. */
function received(pass: Pass, id: number, { lastSeq }: Flight, reply: Receipt): void {
  const isOwn = reply.through !== null && pass.rows.hashAt(pass.origin(id), reply.through) === reply.head;
  const said = confirmedBy(reply);
  confirm(pass, id, isOwn ? (reply.through ?? -1) : lastSeq, isOwn ? said : { ...said, position: null });
  forgetUnreadable(pass.store);
}
