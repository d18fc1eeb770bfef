import {
  type Appendable,
  eventIdOf,
  formatHlc,
  GENESIS,
  type Hash,
  type HlcParts,
  HUB_SITE,
  type HubOrigin,
  hashOf,
  type IncarnationId,
  type Journal,
  type LogEntry,
  type Noted,
  type OriginHead,
  type OriginId,
  type OwnAuthor,
  type OwnEvent,
  orgOf,
  originId,
  parseHlc,
  type Seq,
  TributaryError,
  tick,
  type Vector,
  withDot,
} from "../core/index.ts";
import { chainHash } from "../core/node.ts";
import type { AppendOutcome, SignNotes } from "./append.ts";
import { currentIncarnation, incarnations } from "./incarnation.ts";
import { hubDeclarations } from "./organisation.ts";

/** How many races with other processes of the hub are lost before giving up. */
const MAX_RACES = 50;

export interface HubOriginDeps {
  readonly log: {
    append(run: readonly Appendable[], known?: OriginHead | null, note?: SignNotes): Promise<AppendOutcome>;
    readOrigin(origin: OriginId, options?: { readonly from?: Seq }): AsyncGenerator<LogEntry>;
    readonly journal: Journal;
  };
  readonly org: string;
  /** What the origin is for: the device in its name. */
  readonly device: string;
  /** Signs the hub's notes. `hub`: the id of the log's first incarnation. */
  readonly sign?: (hub: IncarnationId, run: readonly Appendable[]) => Noted | null;
  readonly now?: () => number;
}

/**
 * Opens the origins `org.hub.<device>.<incarnation>` of a log: one for each life of the log, since a log that was restored from a backup goes on otherwise than the one that others may
 * have read. All processes of the hub append to that of the present life, each event at the revision that it expects; whoever was not first reads on and asks its author again.
 * Nothing is kept outside of the log.
 */
export function openHubOrigin({ log, org, device, sign, now = Date.now }: HubOriginDeps): HubOrigin {
  const read = openReading(log);
  let life: IncarnationId | null = null;
  /** A life in which the log was found set back. */
  let lost: IncarnationId | null = null;
  return {
    async append(author) {
      for (let races = 0, written = 0; ; ) {
        const present = await currentIncarnation(log.journal);
        const lives = (await incarnations(log.journal)).map(({ id }) => id);
        const origin = nameOf(org, device, present.id);
        if (lost === present.id) throw setBack(origin);
        // Of the lives before, too, the log may have less than it had.
        if (life !== present.id) read.forget();
        life = present.id;
        let isWhole = await read.on(await namesOf(log.journal, lives, { org, device }), author);
        if (isWhole) {
          const events = await author.next();
          if (events.length === 0) return written;
          const end = read.end(origin);
          const run = linked(origin, end, events, { seen: read.seen, nowMs: now() });
          const hub = lives[0] ?? present.id;
          const outcome = await log.append(run, end?.head ?? null, sign === undefined ? undefined : (chunk) => sign(hub, chunk));
          if (outcome.kind === "appended") written += outcome.written;
          isWhole = outcome.kind !== "gap";
          if (outcome.kind === "fork" && ++races > MAX_RACES)
            throw new TributaryError("backend-failed", `other processes of the hub keep appending to ${origin}`, "Try again.");
        }
        if (isWhole) continue;
        read.forget();
        lost = present.id;
      }
    },
  };
}

/** The log has less of the origin than this process has read, or something else. What it would write now could differ from what others have read there. */
const setBack = (origin: OriginId): TributaryError =>
  new TributaryError(
    "backend-failed",
    `the log no longer has all of ${origin}: it was set back`,
    "The hub notices this and begins a new life of the log; then what is missing is written.",
  );

const nameOf = (org: string, device: string, epoch: string): OriginId => originId({ org, site: HUB_SITE, device, epoch });

/** The origins of this name in all lives of the log, and of all organisations that it has belonged to. */
async function namesOf(
  journal: Journal,
  lives: readonly IncarnationId[],
  { org, device }: { readonly org: string; readonly device: string },
): Promise<OriginId[]> {
  const orgs = new Set([...(await hubDeclarations(journal)).map((each) => each.org), org]);
  return lives.flatMap((life) => [...orgs].map((each) => nameOf(each, device, life)));
}

/** Where an origin ends, as far as it was read. */
interface End {
  readonly head: OriginHead;
  readonly hlc: HlcParts;
}

/** Reads origins on from where they were read to, and remembers what stands in them about each entity. */
function openReading(log: HubOriginDeps["log"]) {
  let ends = new Map<OriginId, End>();
  let vectors = new Map<string, Vector>();
  let isNew = true;
  return {
    /** `false`: an origin goes on otherwise than after what was read of it. */
    async on(origins: readonly OriginId[], author: OwnAuthor): Promise<boolean> {
      if (isNew) author.restart();
      isNew = false;
      for (const origin of origins) {
        const end = ends.get(origin);
        const from = (end === undefined ? 0 : end.head.through + 1) as Seq;
        for await (const entry of log.readOrigin(origin, { from })) {
          const { head, position, content, lastQuarantined: before } = entry;
          if (head.prev !== (ends.get(origin)?.head.hash ?? GENESIS)) return false;
          const mark = content.kind === "quarantined" ? head.seq : before;
          const lastQuarantined = mark === undefined ? {} : { lastQuarantined: mark };
          ends.set(origin, {
            head: { through: head.seq, hash: head.hash, position, ...lastQuarantined },
            hlc: parseHlc(head.hlc),
          });
          const about = `${head.entity.type}/${head.entity.id}`;
          vectors.set(about, withDot(vectors.get(about) ?? {}, head));
          author.see(entry);
        }
      }
      return true;
    },
    end: (origin: OriginId): End | null => ends.get(origin) ?? null,
    /** What was read of an entity. */
    seen: ({ type, id }: OwnEvent["entity"]): Vector => vectors.get(`${type}/${id}`) ?? {},
    forget(): void {
      [ends, vectors, isNew] = [new Map(), new Map(), true];
    },
  };
}

/** The events as the origin's next ones. */
function linked(
  origin: OriginId,
  end: End | null,
  events: readonly OwnEvent[],
  { seen, nowMs }: { readonly seen: (entity: OwnEvent["entity"]) => Vector; readonly nowMs: number },
): Appendable[] {
  let seq = (end === null ? 0 : end.head.through + 1) as Seq;
  let prev: Hash = end === null ? GENESIS : end.head.hash;
  let stamp = end?.hlc ?? null;
  const written = new Map<string, Vector>();
  return events.map(({ type, entity, schema, data, actor, atMs }) => {
    stamp = tick(stamp, nowMs);
    const about = `${entity.type}/${entity.id}`;
    const basis = written.get(about) ?? seen(entity);
    const body = {
      type,
      origin,
      seq,
      entity,
      schema,
      actor,
      org: orgOf(origin),
      occurredAt: new Date(atMs).toISOString(),
      hlc: formatHlc(stamp),
      basis,
    };
    const hash = hashOf(prev, { ...body, data }, chainHash);
    const head = { ...body, id: eventIdOf(stamp.wallMs, hash), prev, hash };
    written.set(about, withDot(basis, { origin, seq }));
    prev = hash;
    seq = (seq + 1) as Seq;
    return { head, content: { kind: "accepted", data }, clock: null };
  });
}
