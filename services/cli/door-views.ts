import { messageOf } from "../core/index.ts";
import type { Fits, Gate, Pins } from "../gate/index.ts";
import type { Settled } from "../ingress/index.ts";
import { fitsViews, type View } from "../merge/engine.ts";
import { connectViews, type Db, generationsOf, isBuiltAs, settledEvents } from "../views/index.ts";
import { type Folders, loadViews } from "./folders.ts";

/** How often the door checks which views are live. */
const LOOK_MS = 2_000;
/** How many questions of devices the database is asked at a time. While it hangs, it is asked no more. */
const MAX_ASKED = 32;

export interface DoorViews {
  readonly fits: Fits;
  /**
   * The views as they are live: those that were declared when all that is declared was last built, and all that is built was declared. A file that somebody is just editing changes nothing here.
   * `null`: that has not been so since this process began.
   */
  live(): readonly View[] | null;
  /** The versions in which the live views read events, by view. */
  readers(): Readonly<Record<string, Pins>>;
  /** What became of quarantined events, as far as the database can tell. */
  readonly settled: Settled;
  close(): Promise<void>;
}

/**
 * What the door knows of the views. It checks events against the declarations of the live views. It leaves out a view whose file differs from the live build, so that a file that
 * somebody is just editing holds no event back; once `tributary rebuild` has swapped the view in, the door loads its file again.
 *
 *   as declared ── the database tells which builds are live ──▶ as built ⇄ other builds are live: files loaded again
 *        └ database away, or not prepared yet: as before
 */
export async function followViews({
  folders,
  postgresUrl,
  gate,
  say,
}: {
  folders: Folders;
  postgresUrl: string;
  gate: Gate;
  say: (event: Record<string, unknown>) => void;
}): Promise<DoorViews> {
  let declared = await loaded(folders, say);
  let check = fitsViews(declared ?? [], gate.read);
  let standing = "";
  let unchecked: readonly string[] = [];
  let whole: readonly View[] | null = null;
  let readers: Readonly<Record<string, Pins>> = {};
  let db: Db | null = null;

  const look = async (): Promise<void> => {
    try {
      db ??= await connectViews(postgresUrl, "tributary-door");
      const live = await generationsOf(db, "live");
      readers = Object.fromEntries([...live].flatMap(([name, of]) => (of.readers === null ? [] : [[name, of.readers]])));
      const now = JSON.stringify([...live].map(([name, { shape }]) => [name, shape]).sort());
      const isNews = now !== standing;
      if ((!isNews && unchecked.length === 0) || live.size === 0) return;
      if (standing !== "") declared = (await loaded(folders, say)) ?? declared;
      standing = now;
      const views = (declared ?? []).filter((view) => isBuiltAs(view, live));
      const before = unchecked.join();
      unchecked = (declared ?? []).filter((view) => !views.includes(view)).map(({ name }) => name);
      if (unchecked.length === 0 && views.length === live.size) whole = views;
      if (!isNews && unchecked.join() === before) return;
      check = fitsViews(views, gate.read);
      say({ event: "door-views", checked: views.length, unchecked });
    } catch {
      // The projector says what is wrong with the database; the door goes on without it.
      await db?.end().catch(() => {});
      db = null;
    }
  };
  let looking: Promise<void> | null = null;
  const begin = (): void => {
    looking ??= look().finally(() => {
      looking = null;
    });
  };
  const timer = setInterval(begin, LOOK_MS);
  timer.unref();
  begin();

  return {
    fits: (head, data) => check(head, data),
    live: () => whole,
    readers: () => readers,
    settled: settledIn(() => db),
    async close() {
      clearInterval(timer);
      await looking;
      await db?.end().catch(() => {});
    },
  };
}

/** Answers from the database what became of quarantined events; `null` while it is away or busy. */
export function settledIn(db: () => Db | null): Settled {
  let asked = 0;
  return async (marks, incarnation) => {
    const open = db();
    if (open === null || asked >= MAX_ASKED) return null;
    asked++;
    try {
      return await settledEvents(open, marks, incarnation);
    } catch {
      // The loop that checks which views are live finds out that the database is away, and connects again.
      return null;
    } finally {
      asked--;
    }
  };
}

/** A file that cannot be read must not close the door: its values are then checked only when views are folded. */
async function loaded(folders: Folders, say: (event: Record<string, unknown>) => void): Promise<View[] | null> {
  try {
    return await loadViews(folders, { again: true });
  } catch (error) {
    say({ event: "projections-unreadable", message: messageOf(error) });
    return null;
  }
}
