import {
  canonicalize,
  type DeviceName,
  deviceOf,
  type Fact,
  isTributaryError,
  type Journal,
  type JsonObject,
  KEYS_STREAM,
  type KeyFact,
  type KeyRecord,
  keyFactOf,
  keyRecord,
  messageOf,
  messageText,
  type Position,
  type Signer,
  TributaryError,
} from "../core/index.ts";

/** When two processes write at the same time, the later one looks again. Losing more races than this is not an accident. */
const MAX_RACES = 50;
/** How often, at most, questions about unknown devices make the book look into the log. */
const REFRESH_PAUSE_MS = 250;
/** How often the event store is tried again, where it was away. */
const BEGIN_PAUSE_MS = 1_000;

/**
 * The book of keys: the facts of the stream `keys`, kept up to date from the log, and read again from the start where the log was set back to a backup. Each write builds on all that was written before it, so a one-time code
 * is used only once, and a device has only one first key, even if several ask at the same time.
 */
export interface KeyBook {
  /** What is known of keys now; another object after `reload`. */
  readonly record: KeyRecord;
  /** Whether the log has been read; `false`: not yet. */
  readonly isRead: boolean;
  /**
   * Writes the fact that `decide` makes of what is known at the time. `decide` is called again when somebody else was first, and throws to refuse. `null`: there is
   * nothing to write.
   */
  write(actor: string, decide: (record: KeyRecord) => KeyFact | null): Promise<void>;
  /** Reads what others have written up to now. */
  refresh(): Promise<void>;
  /** Reads all facts again, since the log may be another one now, restored from a backup. */
  reload(): Promise<void>;
  close(): void;
}

export interface KeyBookOptions {
  /** Gives the signer of facts. A hub that signs nothing leaves this out. */
  readonly signer?: () => Signer | null;
  /** Follow the log from now on: for programs that run for a long time. */
  readonly follow?: boolean;
  /** Open even while the event store is away, and read it when it is back; until then no device is known, and `isRead` is false. */
  readonly patient?: boolean;
  readonly onFact?: (fact: Fact) => void;
  readonly onInterruption?: (message: string) => void;
  readonly now?: () => number;
}

// Long because reading, following and writing share one record and the turn in which it is written; each step is short, and the steps stand in the order of the book's life.
/** Opens the book of keys of a log. Throws what the log answers, unless `patient`. */
export async function openKeyBook(journal: Journal, options: KeyBookOptions = {}): Promise<KeyBook> {
  const { signer = () => null, onFact = () => {}, now = () => performance.now() } = options;
  let record = keyRecord();
  const stop = new AbortController();
  /** The last fact that was taken. If the log has another one at its revision, or none, it was set back. */
  let last: Fact | null = null;
  const take = (fact: Fact): void => {
    const before = record.revision;
    record.apply(fact);
    if (record.revision === before) return;
    last = fact;
    onFact(fact);
  };
  const reload = async (): Promise<void> => {
    const fresh = keyRecord();
    const facts = await journal.read(KEYS_STREAM);
    for (const fact of facts) fresh.apply(fact);
    record = fresh;
    last = facts.at(-1) ?? null;
    // Takes what others have written since the read.
    await load();
  };
  const load = async (): Promise<void> => {
    const known = last;
    const [there, ...facts] = await journal.read(KEYS_STREAM, known?.revision ?? 0);
    if (known === null) {
      for (const fact of there === undefined ? [] : [there, ...facts]) take(fact);
      return;
    }
    if (there !== undefined && isSame(there, known)) {
      for (const fact of facts) take(fact);
      return;
    }
    // Another look may have read all facts again while this one waited for its answer.
    if (last !== known) return load();
    await reload();
    options.onInterruption?.("the log was set back: its facts about keys were read again");
  };
  let isLooking = false;
  let isDue = false;
  /**
   * Reads on, until there is an answer. The facts that are followed only say that there is news: after a lost link they may come from a log that was set back, and mean nothing
   * beside what was read before.
   */
  const look = async (): Promise<void> => {
    isDue = true;
    if (isLooking) return;
    isLooking = true;
    while (isDue && !stop.signal.aborted) {
      isDue = false;
      await load().catch(async (error: unknown) => {
        isDue = true;
        options.onInterruption?.(messageOf(error));
        await new Promise((resolve) => setTimeout(resolve, BEGIN_PAUSE_MS).unref());
      });
    }
    isLooking = false;
  };
  const follow = (after: Position | null): void =>
    journal.follow({
      prefixes: [KEYS_STREAM],
      after,
      signal: stop.signal,
      onFact: (fact) => {
        if (fact.stream === KEYS_STREAM && (fact.revision !== last?.revision || !isSame(fact, last))) void look();
      },
      onResumed: () => void look(),
      ...(options.onInterruption === undefined ? {} : { onInterruption: options.onInterruption }),
    });
  let isRead = false;
  const begin = async (): Promise<void> => {
    // The position is read first, so that facts written while the stream is read are followed from there.
    const after: Position | null = await journal.end();
    await load();
    isRead = true;
    if (options.follow === true && !stop.signal.aborted) follow(after);
  };
  const beginLater = (error: unknown): void => {
    if (stop.signal.aborted) return;
    options.onInterruption?.(messageOf(error));
    setTimeout(() => begin().catch(beginLater), BEGIN_PAUSE_MS).unref();
  };
  await begin().catch((error: unknown) => {
    if (options.patient !== true || !isTributaryError(error) || error.code !== "backend-unreachable") throw error;
    beginLater(error);
  });

  /** A look that has not begun yet. It waits for its time, and all who ask meanwhile share it. */
  let looking: Promise<void> | null = null;
  let lookedAtMs = -Infinity;
  const refresh = async (): Promise<void> => {
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, lookedAtMs + REFRESH_PAUSE_MS - now())));
    lookedAtMs = now();
    // A caller that asks from here on may know of something that this look misses.
    looking = null;
    await load();
  };

  let turn: Promise<unknown> = Promise.resolve();
  const write: KeyBook["write"] = (actor, decide) => {
    const mine = turn.then(async () => {
      for (let races = 0; races < MAX_RACES; races++) {
        await load();
        const fact = decide(record);
        if (fact === null) return;
        const data = await signed(signer(), record.revision, fact);
        const written = await journal.append(KEYS_STREAM, record.revision - 1, { type: fact.type, data, by: { actor } });
        if (written === null) continue;
        await load();
        return;
      }
      throw new TributaryError(
        "backend-failed",
        "nothing was written to the book of keys: other processes kept writing to it first",
        "Try again in a moment.",
      );
    });
    // The next writer waits for this one, whatever becomes of it.
    turn = mine.catch(() => {});
    return mine;
  };

  return {
    get record() {
      return record;
    },
    get isRead() {
      return isRead;
    },
    write,
    reload,
    refresh() {
      looking ??= refresh();
      return looking;
    },
    close: () => stop.abort(),
  };
}

const isSame = (a: Fact, b: Fact): boolean => a.position === b.position && canonicalize(a.data) === canonicalize(b.data);

async function signed(signer: Signer | null, revision: number, { type, data }: KeyFact): Promise<JsonObject> {
  // In the form in which it will be read: without undefined members.
  const bare = JSON.parse(canonicalize(data)) as JsonObject;
  if (signer === null) return bare;
  const { kid, value } = await signer.sign(messageText("key-fact", keyFactOf(revision, type, bare)));
  return { ...bare, hub: { kid, value } };
}

export const FORKS_PREFIX = "forks-";
/** How many forks are kept of one device: one that makes more is broken or hostile, and these suffice to show it. */
const MAX_FORKS = 8;

/** Two branches of one origin: what the log has, and what somebody else handed over at the same seq. */
export interface Fork {
  readonly origin: string;
  readonly seq: number;
  readonly accepted: JsonObject;
  readonly refused: JsonObject;
}

/** The stream of all forks, for whoever makes cases of them. */
const FORKS_STREAM = "forks";

/** The facts about forks, from a revision on. A fork may be there twice, if a process was killed between its two notes. */
export const forkFacts = (journal: Journal, from: number): Promise<Fact[]> => journal.read(FORKS_STREAM, from);

const areKept = (facts: readonly Fact[], refused: JsonObject): boolean =>
  facts.length >= MAX_FORKS || facts.some(({ data }) => canonicalize(data.refused ?? null) === canonicalize(refused));

/** Whether a fork need not be kept: its refused branch is kept already, or enough forks of its device are. Asked before evidence is gathered. */
export const isForkKept = async (journal: Journal, device: DeviceName, refused: JsonObject): Promise<boolean> =>
  areKept(await journal.read(FORKS_PREFIX + device), refused);

/** Keeps the two heads of a fork, once. Returns whether it did; `false`: the fork was kept before, or enough forks are. */
export async function keepFork(journal: Journal, fork: Fork): Promise<boolean> {
  const stream = FORKS_PREFIX + deviceOf(fork.origin);
  for (let races = 0; races < MAX_RACES; races++) {
    const facts = await journal.read(stream);
    if (areKept(facts, fork.refused)) return false;
    const data = { ...fork } as unknown as JsonObject;
    if (races === 0) await journal.append(FORKS_STREAM, "any", { type: "fork", data, by: { actor: "hub" } });
    if ((await journal.append(stream, facts.length - 1, { type: "fork", data, by: { actor: "hub" } })) !== null) return true;
  }
  return false;
}

/** The forks of a device that are kept. */
export async function forksOf(journal: Journal, device: DeviceName): Promise<Fork[]> {
  return (await journal.read(FORKS_PREFIX + device)).map(({ data }) => data as unknown as Fork);
}

export const actorOfDevice = (device: DeviceName): string => `device ${device}`;
