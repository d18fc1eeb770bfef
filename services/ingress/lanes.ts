/** A batch that this process holds. */
export interface Held {
  /** The site in whose share it counts. */
  readonly site: string;
  /** Batches of one lane (a device) are worked on one after the other, in the broker's order. */
  readonly lane: string;
  /** Its number in the broker's stream. */
  readonly seq: number;
  readonly bytes: number;
}

export interface Bounds {
  /** Held in all, and by one site. */
  readonly maxHeld: number;
  readonly maxHeldBytes: number;
  readonly maxSiteHeld: number;
  readonly maxSiteBytes: number;
  /** A site gets so many even if others have taken all. Theirs make room as they are done. */
  readonly guaranteed: number;
  /** Worked on at a time: in all, of one site, and of one site in bytes. One batch of any size is always allowed. */
  readonly maxWorking: number;
  readonly maxSiteWorking: number;
  readonly maxSiteWorkingBytes: number;
}

interface Lane<T> {
  readonly queue: T[];
  isBusy: boolean;
  notBeforeMs: number;
}

interface Site<T> {
  readonly lanes: Map<string, Lane<T>>;
  held: number;
  bytes: number;
  working: number;
  workingBytes: number;
  notBeforeMs: number;
}

export interface Lanes<T extends Held> {
  /** Holds a batch. `false`: its site has its share already. `anyhow`: whatever the shares are. */
  take(item: T, anyhow?: boolean): boolean;
  /** The next to work on: sites in turn, and the lanes of a site in turn. The caller says `done` or `back` for each. */
  next(nowMs: number): T | null;
  /** For a batch that is not being worked on, `done` and `back` do nothing. */
  done(item: T): void;
  /** It stays held, first in its lane, and is not tried again before `notBeforeMs`. */
  back(item: T, notBeforeMs: number): void;
  /** A site has no further turn before `untilMs`; what is worked on goes on. */
  rest(site: string, untilMs: number): void;
  /** All that is held, including what is worked on. */
  items(): Iterable<T>;
  /** Takes out all that is not being worked on. */
  empty(): T[];
  readonly held: number;
  readonly bytes: number;
  readonly working: number;
}

/**
 * Batches that wait and are worked on, shared fairly: a site that sends a thousand has its own slots and its own turn, and whoever sends one has the next.
 *
 *   taken ─▶ waiting ── its site's and its lane's turn ─▶ worked on ─▶ done
 *               ▲                                             │
 *               └──────────────── back, after a pause ────────┘
 * Long because its functions share the queues, whose bounds and turns must agree; each is short.
 */
export function lanes<T extends Held>(bounds: Bounds): Lanes<T> {
  // Both maps are kept in the order of turns. Whoever is served goes to the end.
  const sites = new Map<string, Site<T>>();
  const working = new Set<T>();
  let held = 0;
  let bytes = 0;

  const siteOf = (name: string): Site<T> => {
    let site = sites.get(name);
    if (site === undefined) {
      site = { lanes: new Map(), held: 0, bytes: 0, working: 0, workingBytes: 0, notBeforeMs: 0 };
      sites.set(name, site);
    }
    return site;
  };

  const hasRoom = (site: Site<T>, more: number): boolean => {
    if (site.held < bounds.guaranteed) return true;
    if (site.held >= bounds.maxSiteHeld || site.bytes + more > bounds.maxSiteBytes) return false;
    return held < bounds.maxHeld && bytes + more <= bounds.maxHeldBytes;
  };

  const mayWork = (site: Site<T>, item: T): boolean =>
    site.working === 0 || (site.working < bounds.maxSiteWorking && site.workingBytes + item.bytes <= bounds.maxSiteWorkingBytes);

  const nextOf = (site: Site<T>, nowMs: number): T | null => {
    if (site.notBeforeMs > nowMs) return null;
    for (const [name, lane] of site.lanes) {
      const item = lane.queue[0];
      if (item === undefined || lane.isBusy || lane.notBeforeMs > nowMs || !mayWork(site, item)) continue;
      site.lanes.delete(name);
      site.lanes.set(name, lane);
      lane.queue.shift();
      lane.isBusy = true;
      return item;
    }
    return null;
  };

  /** Ends the work on a batch, and returns the lane that it was in. */
  const release = (item: T): Lane<T> => {
    working.delete(item);
    const site = sites.get(item.site)!;
    site.working--;
    site.workingBytes -= item.bytes;
    const lane = site.lanes.get(item.lane)!;
    lane.isBusy = false;
    return lane;
  };

  const forget = (item: T): void => {
    const site = sites.get(item.site)!;
    held--;
    bytes -= item.bytes;
    site.held--;
    site.bytes -= item.bytes;
    // When a lane is emptied in one go, the first batch that is forgotten removes the lane.
    const lane = site.lanes.get(item.lane);
    if (lane !== undefined && lane.queue.length === 0 && !lane.isBusy) site.lanes.delete(item.lane);
    if (site.held === 0) sites.delete(item.site);
  };

  return {
    take(item, anyhow = false) {
      const site = siteOf(item.site);
      if (!anyhow && !hasRoom(site, item.bytes)) return false;
      const lane = site.lanes.get(item.lane) ?? { queue: [], isBusy: false, notBeforeMs: 0 };
      site.lanes.set(item.lane, lane);
      // What the broker hands out again comes after what it handed out later, and belongs before it.
      let at = lane.queue.length;
      while (at > 0 && lane.queue[at - 1]!.seq > item.seq) at--;
      lane.queue.splice(at, 0, item);
      held++;
      bytes += item.bytes;
      site.held++;
      site.bytes += item.bytes;
      return true;
    },
    next(nowMs) {
      if (working.size >= bounds.maxWorking) return null;
      for (const [name, site] of sites) {
        const item = nextOf(site, nowMs);
        if (item === null) continue;
        sites.delete(name);
        sites.set(name, site);
        working.add(item);
        site.working++;
        site.workingBytes += item.bytes;
        return item;
      }
      return null;
    },
    done(item) {
      if (!working.has(item)) return;
      release(item).notBeforeMs = 0;
      forget(item);
    },
    back(item, notBeforeMs) {
      if (!working.has(item)) return;
      const lane = release(item);
      lane.queue.unshift(item);
      lane.notBeforeMs = notBeforeMs;
    },
    rest(name, untilMs) {
      const site = sites.get(name);
      if (site !== undefined) site.notBeforeMs = untilMs;
    },
    *items() {
      yield* working;
      for (const site of sites.values()) for (const lane of site.lanes.values()) yield* lane.queue;
    },
    empty() {
      const out: T[] = [];
      for (const site of [...sites.values()])
        for (const lane of [...site.lanes.values()])
          for (const item of lane.queue.splice(0)) {
            out.push(item);
            forget(item);
          }
      return out;
    },
    get held() {
      return held;
    },
    get bytes() {
      return bytes;
    },
    get working() {
      return working.size;
    },
  };
}
