/**
 * A projector's life, from its start to its end:
 *
 *   opening ── opened ─▶ following ── over: shards change hands, entities wait, views are swapped ─▶ opening
 *      │                     └── failed ─▶ pausing ── waited ─▶ opening
 *      ├ failed, again ─▶ pausing            (what waiting does not mend) ─▶ ended
 *      └ failed, at the start ─▶ ended
 *   stopped: opening, following ─▶ leaving ── opened, over, failed ─▶ ended      pausing ─▶ ended
 *
 * `lifeAfter` has all of it: each state with each event. `startProjector` does the work of each state, and reports what came of it.
 */
import { isTributaryError, messageOf } from "../core/index.ts";
import { pause } from "../core/node.ts";
import { connectViews, type Db, dropLetGo, isAnyLetGo, isAudited, isMissing, MAX_REPEATS, sqlState } from "../views/index.ts";
import { follow } from "./follow.ts";
import { takeForks } from "./forks.ts";
import { keepSealing } from "./sealer.ts";
import { type Membership, openMembership, openSession, type ProjectorOptions, type Session } from "./session.ts";
import { mayBeSetBack } from "./setback.ts";

const MIN_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5_000;
/** How often we look for new forks, and for builds that nothing clings to any more. */
const LOOK_MS = 2_000;

/** What went wrong since the last page that was written. */
export interface Trouble {
  /** How long the next pause is. */
  readonly pauseMs: number;
  /** What the last failure said, and how often it came without a page written in between. */
  readonly said: string;
  readonly times: number;
  /** Shards may stand before what was folded, or the log may have been set back. */
  readonly arePositionsDoubted: boolean;
  /** Tables are gone: this process enters the list of projectors again, which makes them. */
  readonly lacksTables: boolean;
}

export const NO_TROUBLE: Trouble = { pauseMs: MIN_PAUSE_MS, said: "", times: 0, arePositionsDoubted: false, lacksTables: false };

export type Life<S = Session> =
  /** A session is being opened. */
  | { readonly kind: "opening"; readonly isFirst: boolean; readonly trouble: Trouble }
  /** The log is being followed. */
  | { readonly kind: "following"; readonly session: S; readonly trouble: Trouble }
  /** Something was away; it is tried again after `waitMs`. */
  | { readonly kind: "pausing"; readonly waitMs: number; readonly trouble: Trouble }
  /** The projector was asked to stop; what is under way is awaited. */
  | { readonly kind: "leaving" }
  /** `failure`: why the projector cannot go on; `null`: it was asked to stop. */
  | { readonly kind: "ended"; readonly failure: Failure | null };

export type LifeEvent<S = Session> =
  | { readonly kind: "opened"; readonly session: S }
  /** A page was written. */
  | { readonly kind: "progressed" }
  /** Following has ended, and is to be taken up again. */
  | { readonly kind: "over" }
  | { readonly kind: "failed"; readonly failure: Failure }
  /** The pause is over. */
  | { readonly kind: "waited" }
  | { readonly kind: "stopped" };

/** What the life cycle knows of an error. */
export interface Failure {
  readonly error: unknown;
  readonly said: string;
  /** Views were built by other declarations than this process has: waiting does not mend that. */
  readonly isFinal: boolean;
  /** An event is in the audit already: shards stand before what was folded, or the log was set back. */
  readonly arePositionsDoubted: boolean;
  readonly lacksTables: boolean;
}

type Kind = Life["kind"];
type EventKind = LifeEvent["kind"];
type Of<T, K> = Extract<T, { readonly kind: K }>;
/** Every state with every event: a table without one of the pairs does not compile. */
type Table<S> = {
  readonly [L in Kind]: { readonly [E in EventKind]: (life: Of<Life<S>, L>, event: Of<LifeEvent<S>, E>) => Life<S> };
};

/** The event changes nothing in this state. */
const same = <L>(life: L): L => life;
const again = (trouble: Trouble): Life<never> => ({ kind: "opening", isFirst: false, trouble });
const left = (): Life<never> => ({ kind: "ended", failure: null });
const leaving = (): Life<never> => ({ kind: "leaving" });

/** A failure is waited out, longer each time; one that waiting does not mend ends the life. */
function failed(before: Trouble, failure: Failure): Life<never> {
  if (failure.isFinal) return { kind: "ended", failure };
  const trouble = {
    said: failure.said,
    times: failure.said === before.said ? before.times + 1 : 1,
    pauseMs: Math.min(before.pauseMs * 2, MAX_PAUSE_MS),
    arePositionsDoubted: before.arePositionsDoubted || failure.arePositionsDoubted,
    lacksTables: before.lacksTables || failure.lacksTables,
  };
  return { kind: "pausing", waitMs: before.pauseMs, trouble };
}

const TABLE: Table<unknown> = {
  opening: {
    opened: ({ trouble }, { session }) => ({
      kind: "following",
      session,
      trouble: { ...trouble, arePositionsDoubted: false, lacksTables: false },
    }),
    failed: ({ isFirst, trouble }, { failure }) => (isFirst ? { kind: "ended", failure } : failed(trouble, failure)),
    stopped: leaving,
    progressed: same,
    over: same,
    waited: same,
  },
  following: {
    progressed: (life) => ({ ...life, trouble: NO_TROUBLE }),
    over: ({ trouble }) => again(trouble),
    failed: ({ trouble }, { failure }) => failed(trouble, failure),
    stopped: leaving,
    opened: same,
    waited: same,
  },
  pausing: {
    waited: ({ trouble }) => again(trouble),
    stopped: left,
    opened: same,
    progressed: same,
    over: same,
    failed: same,
  },
  leaving: { opened: left, over: left, failed: left, progressed: same, waited: same, stopped: same },
  ended: { opened: same, progressed: same, over: same, failed: same, waited: same, stopped: same },
};

/** The state of a life after an event. */
export function lifeAfter<S>(life: Life<S>, event: LifeEvent<S>): Life<S> {
  // The table has a cell for each pair, whatever a session is; TypeScript cannot see that this cell is the one for this pair.
  const cell = TABLE[life.kind][event.kind] as (life: Life<S>, event: LifeEvent<S>) => Life<S>;
  return cell(life, event);
}

/** An error as the life cycle sees it. */
const failureOf = (error: unknown): Failure => ({
  error,
  said: `${sqlState(error)} ${messageOf(error)}`,
  isFinal: isTributaryError(error) && error.code === "projection-malformed",
  arePositionsDoubted: isAudited(error),
  lacksTables: isMissing(error),
});

export interface Projector {
  /** Resolves when the projector ends: with an error only if it cannot go on (views were built by other declarations than its own). */
  readonly done: Promise<void>;
  /** The shards in hand. */
  shards(): readonly number[];
  close(): Promise<void>;
}

/** Starts a projector. Resolves when the views stand as declared and this process shares in folding them. */
export async function startProjector(options: ProjectorOptions): Promise<Projector> {
  const stop = new AbortController();
  const started = Promise.withResolvers<void>();
  let life: Life = { kind: "opening", isFirst: true, trouble: NO_TROUBLE };
  const world: World = {
    options,
    membership: membershipOf(options),
    stop: stop.signal,
    life: () => life,
    tell(event) {
      life = lifeAfter(life, event);
      if (life.kind === "following") started.resolve();
    },
  };
  stop.signal.addEventListener("abort", () => world.tell({ kind: "stopped" }), { once: true });
  const looks = setInterval(lookout(world), LOOK_MS);
  const done = live(world).finally(() => {
    clearInterval(looks);
    return world.membership.leave();
  });
  done.catch(() => {});
  await Promise.race([started.promise, done]);
  const sealing = new AbortController();
  const sealed = keepSealing({ ...options, signal: AbortSignal.any([stop.signal, sealing.signal]) });
  done.catch(() => {}).then(() => sealing.abort());
  return {
    done,
    shards: () => (life.kind === "following" ? life.session.leases.map(({ shard }) => shard) : []),
    async close() {
      stop.abort();
      await Promise.allSettled([done, sealed]);
    },
  };
}

/** What a projector's life needs. */
interface World {
  readonly options: ProjectorOptions;
  /** This process's membership among the projectors. */
  readonly membership: ReturnType<typeof membershipOf>;
  readonly stop: AbortSignal;
  life(): Life;
  tell(event: LifeEvent): void;
}

/** Does the work of each state until the life has ended. Throws the failure that ended it. */
async function live(world: World): Promise<void> {
  for (;;) {
    const life = world.life();
    switch (life.kind) {
      case "opening":
        await open(world, life);
        break;
      case "following":
        await followLog(world, life.session, life.trouble);
        break;
      case "pausing":
        await pause(life.waitMs, world.stop);
        world.tell({ kind: "waited" });
        break;
      case "leaving":
        world.tell({ kind: "over" });
        break;
      case "ended":
        if (life.failure !== null) throw life.failure.error;
        return;
    }
  }
}

/** This process's membership among the projectors. It is kept from session to session, so that others do not see it come and go. */
function membershipOf(options: ProjectorOptions) {
  let membership: Membership | null = null;
  const leave = async (): Promise<void> => {
    await membership?.end();
    membership = null;
  };
  return {
    leave,
    async take(isAnew: boolean): Promise<Membership> {
      if (isAnew || membership?.isLost()) await leave();
      membership ??= await openMembership(options);
      return membership;
    },
  };
}

/** Opens a session. If the projector was asked to stop meanwhile, the session is closed again. */
async function open(world: World, { isFirst, trouble }: Of<Life, "opening">): Promise<void> {
  const { options, membership, stop, tell } = world;
  try {
    const session = await openSession(options, await membership.take(trouble.lacksTables), {
      isStart: isFirst && options.mayBuild !== false,
      arePositionsDoubted: trouble.arePositionsDoubted,
      insists: trouble.times >= MAX_REPEATS,
      stop,
    });
    if (stop.aborted) await session.close();
    tell({ kind: "opened", session });
  } catch (error) {
    fail(world, error);
  }
}

/** Follows the log until the session is over or fails; then closes the session. */
async function followLog(world: World, session: Session, { times }: Trouble): Promise<void> {
  const { options, stop, tell } = world;
  try {
    await follow(session, {
      ...options,
      signal: stop,
      say: options.say ?? (() => {}),
      insists: times >= MAX_REPEATS,
      onProgress: () => tell({ kind: "progressed" }),
      onInterruption: async () => !(await mayBeSetBack(session.reader, options.log)),
    });
    await session.close();
    tell({ kind: "over" });
  } catch (error) {
    await session.close();
    fail(world, error);
  }
}

function fail({ options, life, tell }: World, error: unknown): void {
  tell({ kind: "failed", failure: failureOf(error) });
  const now = life();
  const told = isTributaryError(error) ? { code: error.code, hint: error.hint } : {};
  if (now.kind === "pausing")
    options.say?.({ event: "projector-interrupted", message: messageOf(error), ...told, pauseMs: now.waitMs });
}

/** Returns a function that looks for new forks, and for builds that were let go. */
function lookout({ options, life }: World): () => void {
  let isLooking = false;
  const look = async (): Promise<void> => {
    const now = life();
    if (isLooking || now.kind !== "following") return;
    isLooking = true;
    const { db } = now.session.membership;
    // Following the log notices whatever is away; this is tried again later.
    await takeForks(db, options.log, false).catch(() => {});
    await letGo(db, options).catch(() => {});
    isLooking = false;
  };
  return () => void look();
}

/** Removes builds that were let go, over a connection of its own: others use `db` meanwhile, and their statements would end up in the transaction. */
async function letGo(db: Db, { postgresUrl, say }: ProjectorOptions): Promise<void> {
  if (!(await isAnyLetGo(db))) return;
  const own = await connectViews(postgresUrl, "tributary-projector cleans up");
  try {
    const builds = await dropLetGo(own);
    if (builds > 0) say?.({ event: "builds-let-go", builds });
  } finally {
    await own.end();
  }
}
