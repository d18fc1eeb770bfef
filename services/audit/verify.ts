import {
  eventIdOf,
  eventText,
  GENESIS,
  type Hash,
  type LogEntry,
  type OriginId,
  type Position,
  type PublicKey,
  type Seq,
  type Settlement,
  wallMsOf,
} from "../core/index.ts";
import { chainHash, heapKeeper } from "../core/node.ts";
import type { Gate, Pins } from "../gate/index.ts";
import { type Anchor, type AnchorComparison, incarnations, judge, keyFactsOf, type Log, textOf } from "../log/index.ts";
import { entityViews, type Totals } from "../merge/engine.ts";
import type { Projection, View } from "../merge/index.ts";
import { counting, rehearseRefold, shardOfEntry, targetsFor, type ViewTarget } from "../projector/index.ts";
import {
  type Asked,
  type AuditDifference,
  type Books,
  type Db,
  type Expected,
  foldedTo,
  generationsOf,
  inComparison,
  openBooks,
  openTotals,
  type Parked,
  type Placeholders,
  parkedMarks,
  readersOf,
  refoldsAsked,
  shardOf,
} from "../views/index.ts";
import { compareView } from "./compare-view.ts";
import { builtOtherwise } from "./live.ts";
import { type SignatureCheck, type SignatureReport, signatureCheck } from "./signatures.ts";
import { openSpill, type Spill } from "./spill.ts";
import { type Findings, openFindings, type Problem, type Report, type Verdicts } from "./verdicts.ts";

/** Events that are compared with the audit in one question, and their bytes: what is in memory at a time. */
const PAGE_EVENTS = 1_000;
const PAGE_BYTES = 4 * 1_048_576;
const PROGRESS_EVERY = 1_000;
/** How long an entity may wait to be folded anew before nobody is believed to be about to do it; a running hub takes about a second. */
const AWAITED_S = 60;

export interface OriginReport {
  readonly origin: string;
  readonly events: number;
  readonly quarantined: number;
  readonly head: Hash;
  readonly chainIntact: boolean;
}

export interface VerifyReport {
  /** Each part by itself: whether it is as it should be, in words, and what to do. */
  readonly verdicts: Verdicts;
  readonly summary: string;
  readonly events: number;
  readonly origins: readonly OriginReport[];
  readonly chainsIntact: boolean;
  /** The last position looked at. */
  readonly through: string | null;
  /** View rows that were compared with the fold of the log; `null` when views were not asked for. */
  readonly rowsCompared: number | null;
  /** Views that were left out: declared otherwise than the live ones were built, their rows cannot be what the declaration gives. */
  readonly notCompared: readonly string[];
  readonly signatures: SignatureReport;
  /** `null`: no anchor was given. */
  readonly anchor: AnchorComparison | null;
  /** Entities that are parked, with the reason: they show what they did before it. */
  readonly parked: readonly Parked[];
  readonly problemCount: number;
  readonly problems: readonly Problem[];
}

/** How far it is, for whoever waits. */
export interface VerifyProgress {
  readonly stage: "log" | "views";
  /** Events of the log, or entities of views. */
  readonly done: number;
  /** From 0 to 1, by positions; `null`: not known. */
  readonly share: number | null;
}

export interface VerifyDeps {
  readonly log: Log;
  /** Given: audit, views and totals are compared as well, each shard as far as it is folded. */
  readonly views?: {
    readonly db: Db;
    readonly gate: Gate;
    readonly projections: readonly View[];
    /** The declarations are known to be those that the views were built with, whatever the text of their functions has become on the way. */
    readonly isSame?: boolean;
  };
  /** The hub's public keys, from elsewhere than the log: what the log says about keys is checked with them. */
  readonly hubKeys?: readonly PublicKey[];
  /** What was kept of the log elsewhere, or why that cannot be believed. */
  readonly anchor?: { readonly anchor: Anchor } | { readonly problem: string };
  readonly onProgress?: (progress: VerifyProgress) => void;
  /** Told of every event, for a caller's own checks in the same pass. */
  readonly onEntry?: (entry: LogEntry) => void;
}

interface OriginState {
  events: number;
  quarantined: number;
  head: Hash;
  intact: boolean;
}

/** Events that log and audit have otherwise, hash and all: one of both was rewritten. */
interface Rewritten {
  first: Seq;
  last: Seq;
  count: number;
  readonly columns: readonly string[];
}

/** What is compared besides the log. */
interface Compared {
  readonly db: Db;
  readonly gate: Gate;
  readonly declared: readonly View[];
  readonly notCompared: readonly string[];
  readonly pins: ReadonlyMap<string, Pins>;
  readonly parked: readonly Parked[];
  /** Entities that wait to be folded anew, as `view/entity`. */
  readonly waiting: ReadonlyMap<string, Asked>;
  /** What parked entities are tried to be folded into. */
  readonly targets: readonly ViewTarget[];
  readonly shards: ReadonlyMap<number, Position | null>;
  readonly books: Books;
  readonly spill: Spill;
}

/**
 * Reads the whole log once and checks that each origin's events stand in order, once, chained and signed; and, when views are given, that audit, list of
 * quarantined events, views, their past and totals are what the log gives, all of one moment of the database.
 *
 *   log ── page by page ─▶ links, signatures, anchor ─▶ audit rows (PostgreSQL compares) ─▶ spilled to disk by entity ─▶ views, entity by entity ─▶ totals
 *
 * What is in memory does not grow with the log, but for one short entry an origin. Nothing is written that stays but for temporary tables and a temporary file: parked entities
 * are folded anew, and audit rows without a word written as they should be, to see whether the database refuses them still, and that is undone at once. A build of
 * views that wants to be swapped in waits until this has ended.
 */
export async function verify(deps: VerifyDeps): Promise<VerifyReport> {
  const { views } = deps;
  if (views === undefined) return judgeAll(deps, null);
  const { db } = views;
  using spill = openSpill();
  return await inComparison(db, async () => judgeAll(deps, await compared(views, spill)));
}

async function compared({ db, gate, projections, isSame }: NonNullable<VerifyDeps["views"]>, spill: Spill): Promise<Compared> {
  const shards = await foldedTo(db);
  const leftOut = isSame === true ? new Set<string>() : await builtOtherwise(db, projections);
  const declared = projections.filter(({ name }) => !leftOut.has(name));
  return {
    db,
    gate,
    declared,
    notCompared: await namesLeftOut(db, projections, leftOut),
    pins: await readersOf(db),
    parked: await parkedMarks(db),
    waiting: await refoldsAsked(db, AWAITED_S),
    targets: await targetsFor(
      db,
      declared.filter((view): view is Projection | Totals => view.kind !== "sql"),
      await generationsOf(db, "live"),
    ),
    shards,
    books: await openBooks(db),
    spill,
  };
}

/** Views that stand and are not compared. Views in SQL have no rows of their own. */
async function namesLeftOut(db: Db, views: readonly View[], leftOut: ReadonlySet<string>): Promise<string[]> {
  const declared = new Set(views.map(({ name }) => name));
  const undeclared = [...(await generationsOf(db, "live")).keys()].filter((name) => !declared.has(name));
  const isLeftOut = (view: View): boolean =>
    view.kind !== "sql" &&
    // What is added up from a view that is left out cannot be told.
    (leftOut.has(view.name) || (view.kind === "totals" && [...view.sources.keys()].some((source) => leftOut.has(source))));
  return [...views.filter(isLeftOut).map(({ name }) => name), ...undeclared].sort();
}

async function judgeAll(deps: VerifyDeps, besides: Compared | null): Promise<VerifyReport> {
  const { log, hubKeys, anchor } = deps;
  const findings = openFindings();
  const { report } = findings;
  const signatures = await signatureCheck(log, (where, what) => report("log", where, what), hubKeys);
  const anchored = anchor !== undefined && "anchor" in anchor ? openAnchored(anchor.anchor) : null;
  const read = await readLog(deps, besides, { report, signatures, anchored });
  const signed = signatures.end();
  const comparison = anchored === null ? null : await anchored.end(log);
  if (anchor !== undefined && "problem" in anchor) report("anchor", "anchor", `it cannot be believed: ${anchor.problem}`);
  if (comparison !== null && comparison.state !== "holds" && comparison.state !== "declared")
    report("anchor", comparison.named.join(", ") || "the log", comparison.says);
  const counted = besides === null ? null : await compareAll(deps, besides, read, report);
  const placeholders = besides === null ? null : await besides.books.placeholders();
  const verdicts = findings.verdicts({
    log: logSays(read, signed),
    audit: placeholders === null ? null : auditSays(read, placeholders),
    views: counted === null ? null : viewsSay(counted, besides!),
    totals: counted === null ? null : `${counted.totalRows} totals add up`,
    parked: counted === null ? null : parkedSay(besides!.parked, counted),
    anchor: comparison === null ? null : comparison.says,
  });
  return {
    verdicts,
    summary: summaryOf(findings, verdicts, besides, placeholders),
    events: read.events,
    origins: [...read.origins].map(([origin, { events, quarantined, head, intact }]) => ({
      origin,
      events,
      quarantined,
      head,
      chainIntact: intact,
    })),
    chainsIntact: [...read.origins.values()].every(({ intact }) => intact),
    through: read.through?.toString() ?? null,
    rowsCompared: counted?.rows ?? null,
    notCompared: besides?.notCompared ?? [],
    signatures: signed,
    anchor: comparison,
    parked: besides?.parked ?? [],
    problemCount: findings.count(),
    problems: findings.listed(),
  };
}

/** What reading the log has found. */
interface Read {
  readonly origins: Map<OriginId, OriginState>;
  events: number;
  /** Events that must stand in the audit. */
  expected: number;
  through: Position | null;
  readonly parkedMet: Set<string>;
}

interface Checks {
  readonly report: Report;
  readonly signatures: SignatureCheck;
  readonly anchored: ReturnType<typeof openAnchored> | null;
}

async function readLog(deps: VerifyDeps, besides: Compared | null, checks: Checks): Promise<Read> {
  const { log, onProgress, onEntry } = deps;
  const { report, signatures, anchored } = checks;
  const read: Read = { origins: new Map(), events: 0, expected: 0, through: null, parkedMet: new Set() };
  const page = besides === null ? null : openPage(log, besides, read, checks);
  // After the database's moment: what it has, the log has by now.
  const end = await log.end();
  for await (const entry of log.readAll(end === null ? {} : { to: end })) {
    const { head, content, position } = entry;
    read.events++;
    read.through = position;
    onEntry?.(entry);
    signatures.entry(entry);
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
function openPage(log: Log, besides: Compared, read: Read, { report, signatures }: Checks) {
  const { db: _, books, spill, shards, declared, parked } = besides;
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
      report("log", where, `the audit has it otherwise (${columns.join(", ")}): as it was before, or altered too`);
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
          spill.put(counted, counted.content.data);
      }
      if (page.length >= PAGE_EVENTS || bytes >= PAGE_BYTES) await flush();
    },
    async end(): Promise<void> {
      await flush();
      for (const [origin, found] of rewritten) tellRewritten(origin, found, signatures.signedThrough(origin), report);
      await tellBeyond(books, read.origins, report);
      await tellQuarantine(books, report);
    },
  };
}

/** How the list of quarantined events differs from what the log gives. */
async function tellQuarantine(books: Books, report: Report): Promise<void> {
  const { count, named } = await books.quarantineDifferences();
  for (const { key, what } of named)
    report(
      "quarantine",
      key,
      /^(it is|the list)/.test(what) ? what : `its entry in the list of quarantined events was altered: ${what}`,
    );
  if (count > named.length) report("quarantine", "quarantine", `${count - named.length} more entries of the list differ`);
}

function noteRewritten(all: Map<OriginId, Rewritten>, origin: OriginId, seq: Seq, columns: readonly string[]): void {
  const known = all.get(origin) ?? { first: seq, last: seq, count: 0, columns };
  known.last = seq;
  known.count++;
  all.set(origin, known);
}

/** Log and audit have different events, each with a hash of its own. A signature tells which of them the device wrote; without one nobody can. */
function tellRewritten(origin: OriginId, { first, last, count, columns }: Rewritten, signed: Seq | null, report: Report): void {
  const where = count === 1 ? `${origin}/${first}` : `${origin}/${first}–${last}`;
  const what = `${count === 1 ? "another event than" : `${count} other events than`} the audit has (${columns.join(", ")})`;
  if (signed !== null && signed >= last)
    report(
      "audit",
      where,
      `its audit rows were altered, hashes too: the log has ${what}, and the device's signature is good for the log's`,
    );
  else
    report(
      "log",
      where,
      `the log has ${what}, with hashes that fit: it was rewritten after it was folded, or else the audit was; no signature says which`,
    );
}

/** Audit rows that the log does not explain. Those that go on where the log's chain ends were in it. */
async function tellBeyond(books: Books, origins: ReadonlyMap<OriginId, OriginState>, report: Report): Promise<void> {
  for (const { origin, events, first, last, prev, isRun } of await books.beyond(origins)) {
    const where = events === 1 ? `${origin}/${first}` : `${origin}/${first}–${last}`;
    const end = origins.get(origin) ?? { events: 0, head: GENESIS };
    if (isRun && first === end.events && prev === end.head)
      report(
        "log",
        where,
        `the log lacks ${events === 1 ? "it" : `these ${events} events`}, which the audit has and which go on where the log's chain ends: removed from its end, or the log was set back`,
      );
    else report("audit", where, "the audit has it, and the log does not: it was made up");
  }
}

interface Counted {
  readonly rows: number;
  readonly views: number;
  readonly totalRows: number;
  /**
   * Parked entities of which nobody could tell whether they would be parked again, those that would not and that a projector is about to fold, and versions that are not
   * kept by what a note says.
   */
  readonly untold: { parked: number; waiting: number; version: number };
}

/** Views, what they keep of the past, and totals. */
async function compareAll({ onProgress }: VerifyDeps, besides: Compared, read: Read, report: Report): Promise<Counted> {
  const { db, gate, declared, parked, pins, spill } = besides;
  const views = entityViews(declared);
  const names = new Set(views.map(({ name }) => name));
  // In views that are compared it is told of where its entity is.
  for (const each of parked)
    if (!names.has(each.view) && !read.parkedMet.has(each.event))
      report("parked", `${each.view}/${each.entity}`, `it is parked at ${each.event}, which the log does not have`);
  // What is added up from a view that is left out cannot be told.
  const totals = declared.filter(
    (view): view is Totals => view.kind === "totals" && [...view.sources.keys()].every((source) => names.has(source)),
  );
  const books = await openTotals(db, totals);
  let rows = 0;
  const untold = { parked: 0, waiting: 0, version: 0 };
  const keepHeap = heapKeeper();
  for (const projection of views) {
    const { name } = projection;
    const target = besides.targets.find((each) => each.projection === projection)!;
    await compareView(
      {
        db,
        gate,
        projection,
        books,
        report,
        waiting: new Map(
          parked.flatMap(({ entity }) => {
            const asked = besides.waiting.get(`${name}/${entity}`);
            return asked === undefined ? [] : [[entity, asked] as const];
          }),
        ),
        rehearse: (id, entries, mark) => rehearseRefold({ db, gate }, target, id, entries, mark),
        untold: (what) => {
          untold[what]++;
        },
        pins: pins.get(projection.name) ?? {},
        totals: totals.filter(({ sources }) => sources.has(projection.name)),
        parked: parkedIn(parked, projection.name),
        onEntity: () => {
          if (++rows % PROGRESS_EVERY !== 0) return;
          keepHeap();
          onProgress?.({ stage: "views", done: rows, share: null });
        },
      },
      spill,
    );
  }
  let totalRows = 0;
  for (const [name, found] of await books.differences()) {
    totalRows += found.rows;
    for (const { key, what } of found.named) report("totals", `${name}/${key}`, what);
    if (found.count > found.named.length) report("totals", name, `${found.count - found.named.length} more totals differ`);
  }
  return { rows, views: views.length, totalRows, untold };
}

/** Looks at each event that an anchor names as it comes by. */
function openAnchored(anchor: Anchor) {
  const wanted = new Map(Object.entries(anchor.heads));
  return {
    entry({ head }: LogEntry): void {
      const known = wanted.get(head.origin);
      if (known !== undefined && known[0] === head.seq && known[1] === head.hash) wanted.delete(head.origin);
    },
    async end(log: Log): Promise<AnchorComparison> {
      const lacking = [...wanted].map(([origin, [seq]]) => `${origin}/${seq}`);
      return judge(anchor, await incarnations(log.journal), lacking, await keyFactsOf(log));
    },
  };
}

const logSays = ({ events, origins }: Read, { runs, unsigned }: SignatureReport): string =>
  `${events} events of ${origins.size} origins stand in order, each with the hash of its content and of all before it; ${runs} signatures of runs are good, ${unsigned} events are covered by none`;

function auditSays({ events, expected }: Read, { rows, mute, untried, held }: Placeholders): string {
  const also = [
    expected === events ? "" : `; ${events - expected} events of the log are not folded yet`,
    rows === 0 ? "" : `; ${rows} stand with placeholders, by what the table refused`,
    mute === 0 ? "" : `, ${mute} of them without a word of their events`,
    mute === untried ? "" : `: tried again, the table refuses ${untried === 0 ? "it" : `${mute - untried} of them`} still`,
    untried === 0
      ? ""
      : `; whether the table refuses ${untried} of them still could not be tried: by a role that may not write there, or for who was in the way`,
    held === 0 ? "" : `; ${held} entries of the list stand with placeholders, by a note in the audit`,
  ];
  return `${expected} rows hold what the log says, column by column, and so does the list of quarantined events${also.join("")}`;
}

const viewsSay = ({ rows, views, untold }: Counted, { notCompared }: Compared): string =>
  `${rows} rows of ${views} views and their past are what folding the log gives${notCompared.length === 0 ? "" : `; not compared, being declared otherwise than they were built, or not at all: ${notCompared.join(", ")}`}${
    untold.version === 0 ? "" : `; ${untold.version} versions are not kept, by a note in the audit`
  }`;

const parkedSay = ({ length }: readonly Parked[], { untold }: Counted): string =>
  length === 0
    ? "no entity is parked"
    : `${length} ${length === 1 ? "entity is" : "entities are"} parked, and told of: no problem${
        untold.waiting === 0 ? "" : `; ${untold.waiting} of them would be so no more, and wait since just now to be folded anew`
      }${untold.parked === 0 ? "" : `; whether ${untold.parked} of them would be parked again could not be tried just now`}`;

function summaryOf(findings: Findings, verdicts: Verdicts, besides: Compared | null, placeholders: Placeholders | null): string {
  const bad = Object.entries(verdicts).flatMap(([part, { state, problems }]) => (state === "bad" ? [`${part} ${problems}`] : []));
  if (bad.length > 0) return `${findings.count()} ${findings.count() === 1 ? "problem" : "problems"}: ${bad.join(", ")}.`;
  const isAll =
    besides === null || (besides.notCompared.length === 0 && besides.parked.length === 0 && placeholders?.untried === 0);
  return isAll ? "All of it agrees." : "All that was compared agrees.";
}

function linkProblem({ head }: LogEntry, before: Pick<OriginState, "events" | "head">, text: string): string | null {
  if (head.seq !== before.events) return `seq ${head.seq} stands where ${before.events} should: an event is missing or doubled`;
  if (head.prev !== before.head) return `its prev is not the hash of the event before`;
  if (chainHash(head.prev, eventText(head, text)) !== head.hash) return "its hash does not fit its content: it was altered";
  return eventIdOf(wallMsOf(head.hlc), head.hash) === head.id ? null : "its id does not follow from its hash";
}

/** What is parked in a view, by the name that the database has of it: the event of each. */
const parkedIn = (parked: readonly Parked[], view: string): ReadonlyMap<string, string> =>
  new Map(parked.filter((each) => each.view === view).map(({ entity, event }) => [entity, event]));
