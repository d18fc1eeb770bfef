/**
 * A projector's life, from its start to its end:
 *
 *   opening ── opened ─▶ following ── over: shards change hands, entities wait, views are swapped ─▶ opening
 *      │                     └── failed ─▶ pausing ── waited ─▶ opening
 *      ├ failed, again ─▶ pausing            (what waiting does not mend) ─▶ ended
 *      └ failed, at the start ─▶ ended
 *   stopped: opening, following ─▶ leaving ── opened, over, failed ─▶ ended      pausing ─▶ ended
 *
 * `lifeAfter` is the whole of it: each state with each event. `startProjector` does what each state is about, and tells what came of it.
 */
import { isTributaryError, messageOf } from "../core/index.ts";
import { pause } from "../core/node.ts";
import { connectViews, type Db, dropLetGo, isAnyLetGo, isAudited, isMissing, MAX_REPEATS, sqlState } from "../views/index.ts";
import { follow } from "./follow.ts";
import { takeForks } from "./forks.ts";
import { type Membership, openMembership, openSession, type ProjectorOptions, type Session } from "./session.ts";
import { mayBeSetBack } from "./setback.ts";

const MIN_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5_000;
/** How often new forks are looked for, and builds that nothing clings to any more. */
const LOOK_MS = 2_000;

/** What went wrong before, and has not been put right by a page that was written. */
export interface Trouble {
  /** How long the next pause is. */
  readonly pauseMs: number;
  /** What the last failure said, and how often it came without a page in between. */
  readonly said: string;
  readonly times: number;
  /** Shards may stand before what was folded, or the log may have been set back. */
  readonly isPlaceDoubted: boolean;
  /** Tables are gone: this process enters the list of projectors anew, which makes them. */
  readonly lacksTables: boolean;
}

export const NO_TROUBLE: Trouble = { pauseMs: MIN_PAUSE_MS, said: "", times: 0, isPlaceDoubted: false, lacksTables: false };

export type Life<S = Session> =
  /** A session is being opened. */
  | { readonly kind: "opening"; readonly isFirst: boolean; readonly trouble: Trouble }
  /** The log is being followed. */
  | { readonly kind: "following"; readonly session: S; readonly trouble: Trouble }
  /** Something was away; `waitMs` until it is tried again. */
  | { readonly kind: "pausing"; readonly waitMs: number; readonly trouble: Trouble }
  /** Asked to stop; what is under way is awaited. */
  | { readonly kind: "leaving" }
  /** `failure`: why it cannot go on; `null`: it was asked to stop. */
  | { readonly kind: "ended"; readonly failure: Failure | null };

export type LifeEvent<S = Session> =
  | { readonly kind: "opened"; readonly session: S }
  /** A page was written. */
  | { readonly kind: "progressed" }
  /** Following has ended, and is to be taken up anew. */
  | { readonly kind: "over" }
  | { readonly kind: "failed"; readonly failure: Failure }
  /** The pause is over. */
  | { readonly kind: "waited" }
  | { readonly kind: "stopped" };

/** What is told of something thrown. */
export interface Failure {
  readonly error: unknown;
  readonly said: string;
  /** Views were built by other declarations than this process has: nothing that waiting mends. */
  readonly isFinal: boolean;
  /** An event is in the audit already: shards stand before what was folded, or the log was set back. */
  readonly isPlaceDoubted: boolean;
  readonly lacksTables: boolean;
}

type Kind = Life["kind"];
type EventKind = LifeEvent["kind"];
type Of<T, K> = Extract<T, { readonly kind: K }>;
/** Every state with every event: one that is left out does not compile. */
type Table<S> = {
  readonly [L in Kind]: { readonly [E in EventKind]: (life: Of<Life<S>, L>, event: Of<LifeEvent<S>, E>) => Life<S> };
};

/** The event is no news in this state. */
const same = <L>(life: L): L => life;
const again = (trouble: Trouble): Life<never> => ({ kind: "opening", isFirst: false, trouble });
const left = (): Life<never> => ({ kind: "ended", failure: null });
const leaving = (): Life<never> => ({ kind: "leaving" });

/** A failure is waited out, each time for longer; one that waiting does not mend ends the life. */
function failed(before: Trouble, failure: Failure): Life<never> {
  if (failure.isFinal) return { kind: "ended", failure };
  const trouble = {
    said: failure.said,
    times: failure.said === before.said ? before.times + 1 : 1,
    pauseMs: Math.min(before.pauseMs * 2, MAX_PAUSE_MS),
    isPlaceDoubted: before.isPlaceDoubted || failure.isPlaceDoubted,
    lacksTables: before.lacksTables || failure.lacksTables,
  };
  return { kind: "pausing", waitMs: before.pauseMs, trouble };
}

const TABLE: Table<unknown> = {
  opening: {
    opened: ({ trouble }, { session }) => ({
      kind: "following",
      session,
      trouble: { ...trouble, isPlaceDoubted: false, lacksTables: false },
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

/** What becomes of a life by an event. */
export function lifeAfter<S>(life: Life<S>, event: LifeEvent<S>): Life<S> {
  // The table has a cell for each pair, whatever a session is; TypeScript cannot see that this one is for the pair at hand.
  const cell = TABLE[life.kind][event.kind] as (life: Life<S>, event: LifeEvent<S>) => Life<S>;
  return cell(life, event);
}

/** Something thrown, as the life cycle sees it. */
const failureOf = (error: unknown): Failure => ({
  error,
  said: `${sqlState(error)} ${messageOf(error)}`,
  isFinal: isTributaryError(error) && error.code === "projection-malformed",
  isPlaceDoubted: isAudited(error),
  lacksTables: isMissing(error),
});

export interface Projector {
  /** Ends when the projector does: with an error only if it cannot go on (views were built by other declarations than its own). */
  readonly done: Promise<void>;
  /** The shards in hand. */
  shards(): readonly number[];
  close(): Promise<void>;
}

/** Starts projecting; resolves when the views stand as declared and this process shares in folding them. */
export async function startProjector(options: ProjectorOptions): Promise<Projector> {
  const stop = new AbortController();
  const started = Promise.withResolvers<void>();
  let life: Life = { kind: "opening", isFirst: true, trouble: NO_TROUBLE };
  const world: World = {
    options,
    place: placeOf(options),
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
    return world.place.leave();
  });
  done.catch(() => {});
  await Promise.race([started.promise, done]);
  return {
    done,
    shards: () => (life.kind === "following" ? life.session.leases.map(({ shard }) => shard) : []),
    async close() {
      stop.abort();
      await done.catch(() => {});
    },
  };
}

/** What a life goes on in. */
interface World {
  readonly options: ProjectorOptions;
  /** This process's place among the projectors. */
  readonly place: ReturnType<typeof placeOf>;
  readonly stop: AbortSignal;
  life(): Life;
  tell(event: LifeEvent): void;
}

/** Does what each state is about, until the life has ended. Throws what it ended for. */
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

/** This process's place among the projectors, kept over sessions, so that others see no coming and going. */
function placeOf(options: ProjectorOptions) {
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

/** Opens a session. One that is open only after the projector was asked to stop is closed again. */
async function open(world: World, { isFirst, trouble }: Of<Life, "opening">): Promise<void> {
  const { options, place, stop, tell } = world;
  try {
    const session = await openSession(options, await place.take(trouble.lacksTables), {
      isStart: isFirst && options.mayBuild !== false,
      isPlaceDoubted: trouble.isPlaceDoubted,
      insists: trouble.times >= MAX_REPEATS,
      stop,
    });
    if (stop.aborted) await session.close();
    tell({ kind: "opened", session });
  } catch (error) {
    fail(world, error);
  }
}

/** Follows the log until the session is over or fails; then the session is closed. */
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

/** Looks for new forks, and for builds that were let go. */
function lookout({ options, life }: World): () => void {
  let isLooking = false;
  const look = async (): Promise<void> => {
    const now = life();
    if (isLooking || now.kind !== "following") return;
    isLooking = true;
    const { db } = now.session.membership;
    // Whatever is away is noticed by those who follow the log, and this is tried again.
    await takeForks(db, options.log, false).catch(() => {});
    await letGo(db, options).catch(() => {});
    isLooking = false;
  };
  return () => void look();
}

/** Removes builds that were let go, over a connection of its own: others use `db` meanwhile, and would be in the transaction. */
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
