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
} from "../../views/index.ts";
import type { Limits } from "./limits.ts";
import type { Batch, Found } from "./pending.ts";
import type { Topic } from "./topics.ts";

const MIN_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5_000;
/** A topic that cannot be read so often in a row is given up: its followers read again. */
const MAX_FAILURES = 20;

/** Where a follower stands; `now`: it begins at the next moment that is looked at; `again`: so, too, and must read again what it follows. */
export type Stand = Resume | "now" | "again";

export interface Member<T> {
  stand: Stand;
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
  let isChecked = false;
  const lookOnce = async (): Promise<void> => {
    const present = [...members];
    const seen = await deps.connections.use((db) => lookAt(deps, db, { topic, viewer, members: present, isChecked }));
    isChecked = true;
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
  readonly found: ReadonlyMap<string, Found<T>>;
}

interface Looking<T> {
  readonly topic: Topic<T>;
  readonly viewer: Viewer;
  readonly members: readonly Member<T>[];
  /** Whether the topic was found to be right before. */
  readonly isChecked: boolean;
}

const RESET = { kind: "reset" } as const;

/** Reads what has changed for all who stand at some position, in one snapshot. */
async function lookAt<T>(
  { limits, onRead }: GroupDeps,
  db: Db,
  { topic, viewer, members, isChecked }: Looking<T>,
): Promise<Seen<T>> {
  const stands = new Map<string, { readonly from: Resume; readonly isFresh: boolean }>();
  for (const { stand, isFresh } of members) {
    if (typeof stand === "string") continue;
    const text = resumeText(stand);
    stands.set(text, { from: stand, isFresh: isFresh || (stands.get(text)?.isFresh ?? false) });
  }
  const far = new Set<string>();
  for (const [text, { from, isFresh }] of stands)
    if (isFresh && (await isFarBehind(db, from, limits.eventsBehind))) far.add(text);
  return asViewer(db, viewer, async () => {
    onRead();
    if (!isChecked) await topic.check(db);
    const now: Present = await presentOf(db);
    const most = { entities: limits.eventsBehind, rows: limits.changedAtOnce };
    const found = new Map<string, Found<T>>();
    for (const [text, { from }] of stands)
      found.set(text, far.has(text) || !canResume(from, now) ? RESET : await topic.read(db, { from, now, most }));
    return { now, found };
  });
}

const NOTHING: Found<never> = { kind: "changes", entries: new Map<string, never>() };

/** Gives a follower what it has not been told, and moves it to the moment that was looked at. */
function give<T>(member: Member<T>, { now, found }: Seen<T>): void {
  const { stand } = member;
  const of = stand === "now" ? NOTHING : stand === "again" ? RESET : found.get(resumeText(stand));
  // It has moved meanwhile, to another group and back: the next look is for it.
  if (of === undefined) return;
  member.stand = now;
  member.isFresh = false;
  member.take({ found: of, resume: resumeText(now) });
}
