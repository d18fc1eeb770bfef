/**
 * `npm run bench -- --only-down`: what an event takes on its way down, in signed pages of a hundred. In go three sites' events as their devices wrote them over some weeks and as the hub took them,
 * a few dozen of a site at a time; no server is needed.
 */
import { canonicalize, type Position } from "../services/core/index.ts";
import { makeKeyPair, signerOf } from "../services/core/node.ts";
import { encodePage, type PagedEvent, pageText } from "../services/exchange/protocol/index.ts";
import { bucketOf, pagesOf, writing } from "../test/support/page-of.ts";
import { chooser } from "../test/support/random.ts";
import { openDevice } from "./device.ts";
import { eventsOf } from "./workload.ts";

const PAGE_EVENTS = 100;
const EVENTS_A_SITE = 2_000;
const BEGAN_MS = Date.parse("2026-03-01T08:00:00Z");
/** What a record of the log takes beside the event's data. */
const RECORD_BYTES = 900;

/** Notes the mean of all pages: of all events in the log's order, and of people alone, whose events are not all that their origins wrote. */
export function benchDown(note: (name: string, value: number) => void): void {
  const log = logOf(["nairobi", "kampala", "juba"]);
  const signer = signerOf(makeKeyPair());
  const bytesOf = (events: readonly PagedEvent[]): number => {
    const pages = pagesOf(events, PAGE_EVENTS, ({ head }) => bucketOf(head.entity.type));
    const frames = pages.map((page) =>
      encodePage(page, { ...writing, sign: (digest) => signer.sign(pageText("nonce-of-the-asker", digest)) }),
    );
    return frames.reduce((sum, { length }) => sum + length, 0) / (pages.length * PAGE_EVENTS);
  };
  note("down-bytes-per-event", bytesOf(log));
  note("down-bytes-per-event-people", bytesOf(log.filter(({ head }) => head.entity.type === "beneficiary")));
}

function logOf(names: readonly string[]): PagedEvent[] {
  const { int, pick } = chooser(7);
  const sites = names.map((site, i) => {
    const wallMs = { now: BEGAN_MS };
    const device = openDevice(site, () => {
      wallMs.now += int(20_000, 600_000);
      return wallMs.now;
    });
    return eventsOf(site, EVENTS_A_SITE, i + 1).map(device.write);
  });
  const log: PagedEvent[] = [];
  let [at, recordedAtMs] = [RECORD_BYTES, BEGAN_MS + 40 * 86_400_000];
  for (let left = sites; left.length > 0; left = left.filter(({ length }) => length > 0)) {
    recordedAtMs += int(1_000, 900_000);
    for (const { head, content, clock } of pick(left).splice(0, int(10, 60))) {
      const { id: _, prev, hash, ...body } = head;
      const text = content.kind === "accepted" ? canonicalize(content.data) : content.text;
      log.push({ head: body, prev, hash, text, held: null, clock, position: BigInt(at) as Position, recordedAtMs });
      at += RECORD_BYTES + text.length;
    }
  }
  return log;
}
