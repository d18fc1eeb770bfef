import {
  eventIdOf,
  eventText,
  GENESIS,
  type Hash,
  type LogEntry,
  type OriginId,
  type Position,
  type Seq,
  type Settlement,
  wallMsOf,
} from "../core/index.ts";
import { chainHash, heapKeeper } from "../core/node.ts";
import { type Log, textOf } from "../log/index.ts";
import { entityViews } from "../merge/engine.ts";
import { counting, fullPlacing, namingHubs, type Placing, shardOfEntry } from "../projector/index.ts";
import { type AuditDifference, type Expected, shardOf } from "../views/index.ts";
import type { Anchored } from "./anchored.ts";
import { type Compared, PROGRESS_EVERY, type VerifyDeps } from "./compared.ts";
import type { SchemaCheck } from "./schemas.ts";
import type { SignatureCheck } from "./signatures.ts";
import { noteRewritten, type Rewritten, tellBeyond, tellOwners, tellQuarantine, tellRewritten } from "./tell.ts";
import type { Report } from "./verdicts.ts";

/** How many events, and how many bytes of them, are compared with the audit by one query: no more are in memory at a time. */
const PAGE_EVENTS = 1_000;
const PAGE_BYTES = 4 * 1_048_576;

interface OriginState {
  events: number;
  quarantined: number;
  head: Hash;
  intact: boolean;
}

/** What reading the log has found. */
export interface Read {
  readonly origins: Map<OriginId, OriginState>;
  events: number;
  /** How many events the audit must have. */
  expected: number;
  through: Position | null;
  readonly parkedMet: Set<string>;
}

/** What looks at each entry as it comes by. */
interface Checks {
  readonly report: Report;
  readonly signatures: SignatureCheck;
  readonly schemas: SchemaCheck;
  readonly anchored: Anchored | null;
}

/** Reads the log once, and hands each event to all checks. */
export async function readLog(deps: VerifyDeps, besides: Compared | null, checks: Checks): Promise<Read> {
  const { log, onProgress, onEntry } = deps;
  const { report, signatures, schemas, anchored } = checks;
  const read: Read = { origins: new Map(), events: 0, expected: 0, through: null, parkedMet: new Set() };
  const placing =
    besides === null || namingHubs(entityViews(besides.declared)).length === 0 ? null : await fullPlacing(besides.db, null);
  const page = besides === null ? null : openPage(log, { ...besides, placing }, read, checks);
  // Asked after the moment of the database that is compared, so that the log has all that the database has.
  const end = await log.end();
  for await (const entry of log.readAll(end === null ? {} : { to: end })) {
    const { head, content, position } = entry;
    read.events++;
    read.through = position;
    onEntry?.(entry);
    signatures.entry(entry);
    schemas.entry(entry);
    anchored?.entry(entry);
    const origin = read.origins.get(head.origin) ?? { events: 0, quarantined: 0, head: GENESIS, intact: true };
    read.origins.set(head.origin, origin);
    const text = textOf(content);
    const wrong = linkProblem(entry, origin, text);
    if (wrong !== null) {
      origin.intact = false;
      report("log", `${head.origin}/${head.seq}`, wrong);
    }
    origin.events++;
    origin.head = head.hash;
    if (content.kind === "quarantined") origin.quarantined++;
    if (page !== null) await page.put(entry, text.length, wrong !== null);
    if (read.events % PROGRESS_EVERY === 0)
      onProgress?.({ stage: "log", done: read.events, share: end === null ? null : Number(position) / Number(end) });
  }
  await page?.end();
  return read;
}

/** Gathers events, and compares them with the audit page by page. */
function openPage(
  log: Log,
  besides: Compared & { readonly placing: Placing | null },
  read: Read,
  { report: tell, signatures }: Checks,
) {
  const { report, isQuiet } = heard(tell);
  const { placing, books, spill, shards, declared, parked } = besides;
  const wanted = new Set(entityViews(declared).map(({ entity }) => entity));
  const parkedAt = new Set(parked.map(({ event }) => event));
  const counts = counting(log);
  const rewritten = new Map<OriginId, Rewritten>();
  const keepHeap = heapKeeper();
  let page: Expected[] = [];
  let settlements: Settlement[] = [];
  let altered = new Set<string>();
  let bytes = 0;
  const isFolded = (shard: number, position: Position): boolean => (shards.get(shard) ?? -1n) >= position;
  const differs = ({ origin, seq, columns }: AuditDifference): void => {
    const where = `${origin}/${seq}`;
    if (columns === null) report("audit", where, "the audit lacks it");
    else if (altered.has(where))
      report("log", where, `the audit has other values (${columns.join(", ")}): the original ones, or these were altered too`);
    else if (columns.includes("hash")) noteRewritten(rewritten, origin, seq as Seq, columns);
    else report("audit", where, `its audit row was altered: ${columns.join(", ")}`);
  };
  const flush = async (): Promise<void> => {
    if (page.length === 0) return;
    for (const difference of await books.audit(page)) differs(difference);
    const folded = page.filter((each) => each.isFolded).map(({ entry }) => entry);
    read.expected += folded.length;
    const held = folded.filter(({ content }) => content.kind === "quarantined");
    await books.quarantine(held, settlements);
    page = [];
    settlements = [];
    altered = new Set();
    bytes = 0;
    keepHeap();
  };
  return {
    async put(entry: LogEntry, size: number, isAltered: boolean): Promise<void> {
      const { head, position } = entry;
      const name = `${head.origin}/${head.seq}`;
      if (isAltered) altered.add(name);
      if (parkedAt.has(name)) read.parkedMet.add(name);
      const here = isFolded(await shardOfEntry(log, entry), position);
      page.push({ entry, isFolded: here });
      bytes += size + JSON.stringify(head.basis).length;
      if (here) {
        const { counted, settlement } = await counts.judge(entry);
        if (settlement !== null) settlements.push(settlement);
        if (
          counted?.content.kind === "accepted" &&
          wanted.has(counted.head.entity.type) &&
          isFolded(shardOf(counted.head.entity), position)
        )
          spill.put(placing === null ? counted : { ...counted, places: placing.places(entry) }, counted.content.data);
      }
      if (page.length >= PAGE_EVENTS || bytes >= PAGE_BYTES) await flush();
    },
    async end(): Promise<void> {
      await flush();
      for (const [origin, found] of rewritten) tellRewritten(origin, found, signatures.signedThrough(origin), report);
      await tellBeyond(books, read.origins, report);
      await tellQuarantine(books, report);
      // What owners follow from must be right first.
      if (isQuiet()) await tellOwners(books, report);
    },
  };
}

function linkProblem({ head }: LogEntry, before: Pick<OriginState, "events" | "head">, text: string): string | null {
  if (head.seq !== before.events) return `seq ${head.seq} stands where ${before.events} should: an event is missing or doubled`;
  if (head.prev !== before.head) return `its prev is not the hash of the event before`;
  if (chainHash(head.prev, eventText(head, text)) !== head.hash) return "its hash does not fit its content: it was altered";
  return eventIdOf(wallMsOf(head.hlc), head.hash) === head.id ? null : "its id does not follow from its hash";
}

/** The same report, and whether nothing was reported so far. */
function heard(tell: Report): { readonly report: Report; isQuiet(): boolean } {
  let isQuiet = true;
  return {
    report(...said) {
      isQuiet = false;
      tell(...said);
    },
    isQuiet: () => isQuiet,
  };
}
