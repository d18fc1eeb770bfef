/** Groups of followers who are told the same kind of thing. In come topics and who asks; out go batches. Followers of one topic with the same rights share a group. */
import { messageOf, TributaryError, type Viewer } from "../../core/index.ts";
import { resumeIn, type ToldChange, type Where } from "../../views/index.ts";
import { type Follower, openFollower, type Who } from "./follower.ts";
import { type Group, type GroupDeps, type Member, openGroup, type Stand } from "./group.ts";
import type { Batch } from "./pending.ts";
import type { Topic } from "./topics.ts";

/** How long an answer to who follows may take. Milliseconds. */
const WHO_MS = 5_000;

export interface FollowOptions {
  /** Asked at the beginning, and then again every few seconds. What follows then ends, or is read again with other rights. */
  readonly viewer: Who;
  /** The last resume position that came; without it, from now on. */
  readonly from?: string;
  readonly signal?: AbortSignal;
}

/** What is followed, and under which conditions. */
export interface Subject<T> {
  readonly topic: Topic<T>;
  readonly where: Where;
}

export interface Board<T> {
  follow(subject: () => Subject<T>, options: FollowOptions): AsyncIterator<Batch<T>, undefined>;
  /** A transaction has changed something; `null`: nobody knows what. */
  look(told: ToldChange | null): void;
  /** Asks who follows. */
  ask(): void;
  counts(): { readonly groups: number; readonly followers: number };
  /** Ends all that follow. */
  end(error: unknown): void;
}

/** Who follows what, with which rights. */
interface Seat<T> {
  readonly who: Who;
  readonly topic: Topic<T>;
  readonly follower: Follower<T>;
  readonly member: Member<T>;
  viewer: Viewer;
  group: Group<T>;
  isAsked: boolean;
}

const nameOf = ({ orgs }: Viewer): string => JSON.stringify(orgs === null ? null : [...new Set(orgs)].sort());

export function openBoard<T>(deps: GroupDeps & { readonly nowMs: () => number }): Board<T> {
  const groups = new Map<string, Group<T>>();
  const seats = new Map<Follower<T>, Seat<T>>();
  const followers = new Set<Follower<T>>();
  const groupOf = (topic: Topic<T>, viewer: Viewer): Group<T> => {
    const name = `${topic.key}\n${nameOf(viewer)}`;
    const known = groups.get(name);
    if (known !== undefined) return known;
    const made = openGroup<T>(deps, topic, viewer, () => {
      if (groups.get(name) === made) groups.delete(name);
    });
    groups.set(name, made);
    return made;
  };
  /** Gives a follower its seat, once it is known who it is. */
  const seat = async (
    follower: Follower<T>,
    { topic, where }: Subject<T>,
    { viewer: who, from }: FollowOptions,
  ): Promise<void> => {
    const stand: Stand = from === undefined ? "now" : resumeIn(from);
    const viewer = permitted(topic, await inTime(who));
    if (follower.hasEnded()) return;
    const member: Member<T> = {
      stand,
      where,
      key: JSON.stringify(where),
      isFresh: true,
      take: follower.take,
      fail: follower.end,
    };
    const group = groupOf(topic, viewer);
    const taken: Seat<T> = { who, topic, follower, member, viewer, group, isAsked: false };
    seats.set(follower, taken);
    group.join(member);
  };
  return {
    follow(subject, options) {
      const leave = (): void => {
        options.signal?.removeEventListener("abort", onAbort);
        followers.delete(follower);
        const taken = seats.get(follower);
        if (taken === undefined) return;
        seats.delete(follower);
        taken.group.leave(taken.member);
      };
      const follower = openFollower<T>(deps.limits, { onEnd: leave, nowMs: deps.nowMs });
      const onAbort = (): void => follower.end();
      followers.add(follower);
      options.signal?.addEventListener("abort", onAbort, { once: true });
      if (options.signal?.aborted === true) follower.end();
      const begin = async (): Promise<void> => seat(follower, subject(), options);
      begin().catch(follower.end);
      return follower.iterator;
    },
    look(told) {
      for (const group of groups.values()) if (told === null || group.topic.concerns(told)) group.look();
    },
    ask() {
      for (const each of seats.values()) void askAgain(each, groupOf);
    },
    counts: () => ({ groups: groups.size, followers: followers.size }),
    end(error) {
      for (const follower of [...followers]) follower.end(error);
    },
  };
}

/** Asks who somebody is; ends what they follow where they may not any more, and moves them where they have other rights now. */
async function askAgain<T>(one: Seat<T>, groupOf: (topic: Topic<T>, viewer: Viewer) => Group<T>): Promise<void> {
  if (one.isAsked) return;
  one.isAsked = true;
  try {
    const viewer = permitted(one.topic, await inTime(one.who));
    if (one.follower.hasEnded() || nameOf(viewer) === nameOf(one.viewer)) return;
    one.group.leave(one.member);
    Object.assign(one.member, { stand: "again", isFresh: false });
    one.viewer = viewer;
    one.group = groupOf(one.topic, viewer);
    one.group.join(one.member);
  } catch (error) {
    one.follower.end(error);
  } finally {
    one.isAsked = false;
  }
}

/** Throws `not-permitted` for nobody, and for who may not follow a topic. */
function permitted(topic: Topic<unknown>, viewer: Viewer | null): Viewer {
  if (viewer === null)
    throw new TributaryError(
      "not-permitted",
      "you may not follow this any more, or never could",
      "Log in again; ask whoever gives rights if that does not help.",
    );
  if (topic.isForOverseers && viewer.orgs !== null)
    throw new TributaryError(
      "not-permitted",
      "this view shows rows of several organisations together, and you do not see all of them",
      "Follow a view of entities, which shows your own.",
    );
  return viewer;
}

/** Who it is, if that is known in time. Throws `backend-unreachable`. */
async function inTime(who: Who): Promise<Viewer | null> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`there was no answer in ${WHO_MS / 1000} seconds`)), WHO_MS);
  try {
    return await Promise.race([who(), late.promise]);
  } catch (error) {
    throw new TributaryError(
      "backend-unreachable",
      `it is not known who follows: ${messageOf(error)}`,
      "Connect again with the last resume position.",
      { cause: error },
    );
  } finally {
    clearTimeout(timer);
  }
}
