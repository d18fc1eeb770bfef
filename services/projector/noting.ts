/**
 * Notes the places of what other hubs let in, in this hub's own order: with one event of the hub's own for each run of one origin's events that stand one after the other in its log. Notes stand in the order of what
 * they place, so the last one tells where to go on: nothing is kept outside of the log. Several processes may do this; whoever is not first reads what the other has written, and asks again.
 */
import {
  type HubOrigin,
  messageOf,
  ORDER_ENTITY,
  ORDER_FORM,
  ORDER_NOTED,
  type OrderedRun,
  type OriginId,
  type OwnAuthor,
  type OwnEvent,
  orderedRunOf,
  type Position,
  type Seq,
} from "../core/index.ts";
import { pause } from "../core/node.ts";
import { connectViews, type Db, positionAt, type TakenEvent, type TakenNews, takenAfter, takenNews } from "../views/index.ts";

const LOOK_MS = 500;
/** How often it is looked, over a connection that is opened for it, at a hub that has never taken in anything from another hub. */
const ALONE_LOOK_MS = 10_000;
const MIN_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5_000;
/** Events that are looked at together; a run that goes on beyond them gets another note. */
const EVENTS_AT_ONCE = 10_000;

export interface NotingOptions {
  readonly postgresUrl: string;
  /** The origin of the hub's notes (`ORDER_DEVICE`). */
  readonly origin: HubOrigin;
  /** The hub's clock, milliseconds. */
  readonly now?: () => number;
  /** Whether the form of notes is registered; before, nobody could read them. */
  readonly isReady: () => boolean;
  readonly say?: (event: Record<string, unknown>) => void;
  readonly signal: AbortSignal;
  /** How often it is looked while nothing was ever taken in from another hub, in milliseconds. */
  readonly aloneLookMs?: number;
}

/**
 * Notes places until `signal` aborts. What fails is told and tried again.
 *
 *   another hub's events have been taken in ─▶ the connection is kept; one statement each `LOOK_MS`        none ever ─▶ no connection; one statement each `ALONE_LOOK_MS`
 */
export async function keepNoting(options: NotingOptions): Promise<void> {
  const { postgresUrl, origin, now, isReady, say = () => {}, signal, aloneLookMs = ALONE_LOOK_MS } = options;
  let db: Db | null = null;
  let noter: Noter | null = null;
  let pauseMs = MIN_PAUSE_MS;
  const letGo = async (): Promise<void> => {
    await db?.end().catch(() => {});
    [db, noter] = [null, null];
  };
  while (!signal.aborted) {
    try {
      let isAlone = true;
      if (isReady()) {
        db ??= await connectViews(postgresUrl, "tributary-ingress notes places");
        noter ??= noterOver(db, origin, now === undefined ? {} : { now });
        const noted = await noter.note();
        if (noted > 0) say({ event: "places-noted", runs: noted });
        isAlone = !noter.hasNeighbours();
        if (isAlone) await letGo();
      }
      pauseMs = MIN_PAUSE_MS;
      await pause(isReady() && isAlone ? aloneLookMs : LOOK_MS, signal);
    } catch (error) {
      await letGo();
      if (signal.aborted) break;
      say({ event: "noting-interrupted", message: messageOf(error), pauseMs });
      await pause(pauseMs, signal);
      pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS);
    }
  }
  await letGo();
}

export interface Noter {
  /** Notes what all shards have come to and no note places yet. Returns how many runs were noted. */
  note(): Promise<number>;
  /** Whether anything was ever taken in that another hub let in, as far as `note` has seen. */
  hasNeighbours(): boolean;
}

/** `eventsAtOnce`: the most events that are looked at together. */
export function noterOver(
  db: Db,
  origin: HubOrigin,
  { eventsAtOnce = EVENTS_AT_ONCE, now = Date.now }: { readonly eventsAtOnce?: number; readonly now?: () => number } = {},
): Noter {
  const author = authorOver(db, { eventsAtOnce, now });
  let life: string | null = null;
  let hasNeighbours = false;
  const look = async (): Promise<TakenNews> => {
    const news = await takenNews(db, author.after());
    hasNeighbours = news.isAny;
    if (news.incarnation === life) return news;
    // The log gives positions again that it gave before, once it was set back.
    const isFirst = author.after() === null;
    author.goBack();
    life = news.incarnation;
    return isFirst ? news : look();
  };
  return {
    hasNeighbours: () => hasNeighbours,
    async note() {
      const { isNew, through } = await look();
      // Nearly always there is nothing new, and the log need not be asked.
      if (isNew) return origin.append(author);
      author.pass(through);
      return 0;
    },
  };
}

interface Author extends OwnAuthor {
  /** All that came before is noted. `null`: not known yet, or from the beginning. */
  after(): Position | null;
  /** Nothing up to an event is to be noted besides. */
  pass(through: Position | null): void;
  /** Looks from where the last note says. */
  goBack(): void;
}

function authorOver(db: Db, { eventsAtOnce, now }: { readonly eventsAtOnce: number; readonly now: () => number }): Author {
  /** Up to where each origin's events are placed. */
  const through = new Map<OriginId, Seq>();
  /** The last run that was noted, and where its note stands. */
  let last: { readonly run: OrderedRun; readonly at: Position } | null = null;
  let after: Position | null = null;
  return {
    after: () => after,
    pass(through) {
      if (through !== null && (after === null || after < through)) after = through;
    },
    goBack() {
      after = null;
    },
    restart() {
      through.clear();
      [last, after] = [null, null];
    },
    see({ head, content, position }) {
      const run = content.kind === "accepted" ? orderedRunOf(head, content.data) : null;
      if (run === null) return;
      through.set(run.origin, Math.max(run.through, through.get(run.origin) ?? 0) as Seq);
      if (last === null || last.at < position) last = { run, at: position };
    },
    async next() {
      if (after === null && last !== null) after = await positionAt(db, { origin: last.run.origin, seq: last.run.through });
      for (;;) {
        const taken = await takenAfter(db, after, eventsAtOnce);
        const end = taken.at(-1);
        if (end === undefined) return [];
        const runs = runsOf(taken.filter(({ origin, seq }) => seq > (through.get(origin) ?? -1)));
        if (runs.length > 0) return runs.map((run) => noteOf(run, now()));
        after = end.position;
      }
    },
  };
}

/** Events in the log's order, as runs of one origin's consecutive events that stand one after the other. */
function runsOf(events: readonly TakenEvent[]): OrderedRun[] {
  const runs: OrderedRun[] = [];
  for (const { origin, seq } of events) {
    const run = runs.at(-1);
    if (run?.origin === origin && run.through + 1 === seq) runs[runs.length - 1] = { ...run, through: seq };
    else runs.push({ origin, from: seq, through: seq });
  }
  return runs;
}

const noteOf = ({ origin, from, through }: OrderedRun, atMs: number): OwnEvent => ({
  type: ORDER_NOTED,
  entity: { type: ORDER_ENTITY, id: origin },
  schema: ORDER_FORM,
  data: { origin, from, through },
  actor: "hub",
  atMs,
});
