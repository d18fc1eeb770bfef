/**
 * Followers of one topic who see the same, and who therefore share what is read. They are looked for one snapshot at a time; after it, all of them stand at its moment.
 *
 *   resting ─▶ due: something changed, somebody came ─▶ looking ─▶ each is given what changed since where it stood ─▶ resting
 *                       ▲                                  ├ something changed meanwhile ─▶ due
 *                       └──────────── pausing ◀────────────┘ the database was away
 */
import { isTributaryError, messageOf, TributaryError, type Viewer } from "../../core/index.ts";
import { pause } from "../../core/node.ts";
import {
  asViewer,
  type Connections,
  canResume,
  type Db,
  isFarBehind,
  type Present,
  presentOf,
  type Resume,
  resumeText,
  type Where,
} from "../../views/index.ts";
import type { Limits } from "./limits.ts";
import type { Answer, Batch, Found } from "./pending.ts";
import type { Topic } from "./topics.ts";

const MIN_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5_000;
/** A topic that cannot be read so often in a row is given up: its followers read again. */
const MAX_FAILURES = 20;

/** Where a follower stands; `now`: it begins at the next moment that is looked at; `again`: so, too, and must read again what it follows. */
export type Stand = Resume | "now" | "again";

export interface Member<T> {
  stand: Stand;
  readonly where: Where;
  /** Names its conditions. */
  readonly key: string;
  /** Whether it has come with a resume position of its own, which may be far behind. */
  isFresh: boolean;
  /** Takes what it is told; never waits. */
  take(batch: Batch<T>): void;
  fail(error: unknown): void;
}

export interface GroupDeps {
  readonly connections: Connections;
  readonly limits: Limits;
  readonly say: (event: Record<string, unknown>) => void;
  readonly signal: AbortSignal;
  /** Called with each snapshot that is read. */
  readonly onRead: () => void;
}

export interface Group<T> {
  readonly topic: Topic<T>;
  join(member: Member<T>): void;
  leave(member: Member<T>): void;
  size(): number;
  /** Something may have changed. */
  look(): void;
}

/** `onEmpty`: the last follower has left. */
export function openGroup<T>(deps: GroupDeps, topic: Topic<T>, viewer: Viewer, onEmpty: () => void): Group<T> {
  const members = new Set<Member<T>>();
  let isDue = false;
  let isLooking = false;
  const lookOnce = async (): Promise<void> => {
    const present = [...members];
    const seen = await deps.connections.use((db) => lookAt(deps, db, { topic, viewer, members: present }));
    for (const member of present) if (members.has(member)) give(member, seen);
  };
  const run = async (): Promise<void> => {
    let failures = 0;
    while (isDue && members.size > 0 && !deps.signal.aborted) {
      isDue = false;
      try {
        await lookOnce();
        failures = 0;
      } catch (error) {
        failures++;
        if ((isTributaryError(error) && !error.code.startsWith("backend-")) || failures >= MAX_FAILURES) {
          const told = isTributaryError(error) ? error : unreadable(error);
          for (const member of [...members]) member.fail(told);
          return;
        }
        deps.say({ event: "live-not-read", topic: topic.key, message: messageOf(error) });
        isDue = true;
        await pause(Math.min(MIN_PAUSE_MS * 2 ** (failures - 1), MAX_PAUSE_MS), deps.signal);
      }
    }
  };
  const look = (): void => {
    isDue = true;
    if (isLooking) return;
    isLooking = true;
    void run().finally(() => {
      isLooking = false;
      if (isDue && members.size > 0 && !deps.signal.aborted) look();
    });
  };
  return {
    topic,
    look,
    size: () => members.size,
    join(member) {
      members.add(member);
      look();
    },
    leave(member) {
      if (members.delete(member) && members.size === 0) onEmpty();
    },
  };
}

const unreadable = (cause: unknown): TributaryError =>
  new TributaryError(
    "backend-failed",
    `what has changed cannot be read: ${messageOf(cause)}`,
    "Connect again with the last resume position. If that fails too, read the view again.",
    { cause },
  );

/** What a look has found: the moment, and what changed between each place where somebody stood and that moment. */
interface Seen<T> {
  readonly now: Resume;
  /** By place and conditions, as `nameOf` names them. */
  readonly found: ReadonlyMap<string, Answer<T>>;
  /** Why what somebody asks cannot be asked, by their conditions. */
  readonly refused: ReadonlyMap<string, unknown>;
}

/** Most followers of a group stand at the very same place. */
const texts = new WeakMap<Resume, string>();
function textOf(resume: Resume): string {
  const text = texts.get(resume) ?? resumeText(resume);
  texts.set(resume, text);
  return text;
}
const nameOf = (stand: Resume, key: string): string => `${textOf(stand)} ${key}`;

interface Looking<T> {
  readonly topic: Topic<T>;
  readonly viewer: Viewer;
  readonly members: readonly Member<T>[];
}

/** Followers who stand at one place. */
interface Standing {
  readonly from: Resume;
  isFresh: boolean;
  /** Their conditions, each once. */
  readonly wheres: Map<string, Where>;
}

const RESET = { kind: "reset" } as const;

/** Reads what has changed for all who stand at some position, in one snapshot. */
async function lookAt<T>({ limits, onRead }: GroupDeps, db: Db, { topic, viewer, members }: Looking<T>): Promise<Seen<T>> {
  const places = placesOf(members);
  const far = new Set<Standing>();
  for (const place of places) if (place.isFresh && (await isFarBehind(db, place.from, limits.eventsBehind))) far.add(place);
  return asViewer(db, viewer, async () => {
    onRead();
    const now = await presentOf(db);
    const refused = await refusedOf(db, topic, members, now);
    const most = { entities: limits.eventsBehind, rows: limits.changedAtOnce };
    const found = new Map<string, Answer<T>>();
    for (const place of places) {
      const { from } = place;
      const asked = [...place.wheres].filter(([key]) => !refused.has(key));
      const wheres = asked.map(([, where]) => where);
      const isKnown = !far.has(place) && canResume(from, now);
      const answers = isKnown && wheres.length > 0 ? await topic.read(db, wheres, { from, now, most }) : [];
      for (const [i, [key]] of asked.entries()) found.set(nameOf(from, key), answers[i] ?? RESET);
    }
    return { now, found, refused };
  });
}

function placesOf(members: readonly Member<unknown>[]): readonly Standing[] {
  const places = new Map<string, Standing>();
  for (const { stand, isFresh, where, key } of members) {
    if (typeof stand === "string") continue;
    const text = textOf(stand);
    const place = places.get(text) ?? { from: stand, isFresh: false, wheres: new Map() };
    place.isFresh ||= isFresh;
    place.wheres.set(key, where);
    places.set(text, place);
  }
  return [...places.values()];
}

/** Looks whether what new followers ask can be asked. One who asks what cannot be does not hold up others. */
async function refusedOf<T>(
  db: Db,
  topic: Topic<T>,
  members: readonly Member<T>[],
  now: Present,
): Promise<ReadonlyMap<string, unknown>> {
  const refused = new Map<string, unknown>();
  const asked = new Map(members.flatMap(({ isFresh, where, key }) => (isFresh ? [[key, where] as const] : [])));
  for (const [key, where] of asked) {
    try {
      await topic.check(db, where, now);
    } catch (error) {
      if (!isTributaryError(error)) throw error;
      refused.set(key, error);
    }
  }
  return refused;
}

const NOTHING: Found<never> = { kind: "changes", entries: new Map<string, never>() };

/** Gives a follower what it has not been told, and moves it to the moment that was looked at. */
function give<T>(member: Member<T>, { now, found, refused }: Seen<T>): void {
  const { stand, key } = member;
  if (refused.has(key)) {
    member.fail(refused.get(key));
    return;
  }
  const of = stand === "now" ? NOTHING : stand === "again" ? RESET : found.get(nameOf(stand, key));
  // It has moved meanwhile, to another group and back: the next look is for it.
  if (of === undefined) return;
  if (of.kind === "refused") {
    member.fail(of.error);
    return;
  }
  member.stand = now;
  member.isFresh = false;
  member.take({ found: of, resume: textOf(now) });
}
