import {
  canonicalize,
  comparePlaces,
  compareStamps,
  covers,
  HUB_SITE,
  type IncarnationId,
  isAt,
  isOneOf,
  type JsonObject,
  type JsonValue,
  TributaryError,
  type Who,
} from "../core/index.ts";
import { type InOrderOf, namedHub, nameInOrderOf, placeIn } from "./hub-order.ts";
import type { Author, Sibling } from "./register.ts";

/** What decided between siblings. `docs/conflicts.md` explains each to people. */
export type Reason =
  /** The later stamp won. */
  | "later-stamp"
  /** The earlier stamp won. */
  | "earlier-stamp"
  /** All else was equal, so the origin's name broke the tie, in the same way everywhere. */
  | "origin-tie"
  /** All others come from devices whose clock was wrong. */
  | "clock-trusted"
  /** It came later into the hub's log, or is this replica's own and not there yet. */
  | "later-in-log"
  /** It came earlier into the hub's log. */
  | "earlier-in-log"
  /** Its author had seen more of the entity's history. */
  | "longer-history"
  /** Its site stands before the others in the rule's list. */
  | "site-priority"
  /** Its organisation, site or person has the say over this register. */
  | "authority"
  /** Another field of the same event ranks it above the others. */
  | "field-priority"
  | "greater"
  | "lesser"
  /** All values count: the one shown is made of them. */
  | "merged"
  /** A deletion outranked concurrent changes, or they outranked it. */
  | "deletion-outranks"
  | "change-outranks"
  /** Nobody has decided yet; meanwhile the latest value by stamp is shown. */
  | "awaits-person"
  /** A rule of the project's own. */
  | "custom";

export interface Resolution {
  /** The write whose value is shown or, for a merged value, the write that comes nearest to it. */
  readonly winner: Sibling;
  readonly reason: Reason;
  /** The shown value, if it is not the winner's own. */
  readonly merged?: JsonValue;
  /** A person is to decide. */
  readonly isOpen?: boolean;
}

/** What a resolver may look at besides the siblings: a function of the set of the entity's events, as they are. */
export interface ResolveContext {
  /** How many of the entity's known events the sibling's author had seen. Only for resolvers with `needsHistory`. */
  historyOf(sibling: Sibling): number;
}

/** Picks one of the siblings (there is at least one), or makes one value of all: a pure function of their set. */
export interface Resolver {
  readonly name: string;
  readonly version: number;
  /** The rule's own settings. Like a change of name or version, a change of these leads to new decisions. */
  readonly settings?: JsonValue;
  /** Members of the event's data that each sibling keeps for the rule to look at. */
  readonly reads?: readonly string[];
  readonly needsHistory?: boolean;
  /** The hub in whose order the rule looks, where it names one. */
  readonly hub?: IncarnationId;
  /** The rule is only for a register of this kind; a declaration that uses it elsewhere is refused. */
  readonly onlyFor?: "deleted" | "json";
  resolve(siblings: readonly Sibling[], context: ResolveContext): Resolution;
}

/** Whether `a` outranks `b`: its stamp is later, and not of a clock known to be wrong. */
const laterThan = (a: Author, b: Author): boolean =>
  a.clockWrong === b.clockWrong ? (compareStamps(a, b) || a.seq - b.seq) > 0 : b.clockWrong;
const earlierThan = (a: Author, b: Author): boolean =>
  a.clockWrong === b.clockWrong ? (compareStamps(a, b) || a.seq - b.seq) < 0 : b.clockWrong;

/** The first sibling by a total order. */
function best(siblings: readonly Sibling[], outranks: (a: Sibling, b: Sibling) => boolean): Sibling {
  let winner = siblings[0]!;
  for (const other of siblings) if (other !== winner && outranks(other, winner)) winner = other;
  return winner;
}
const latest = (siblings: readonly Sibling[]): Sibling => best(siblings, (a, b) => laterThan(a.by, b.by));

/** Of the siblings that rank first, the latest by stamp. The reason is `reason` if rank alone decided, else what the stamps said. */
function ranked(siblings: readonly Sibling[], compare: (a: Sibling, b: Sibling) => number, reason: Reason): Resolution {
  const top = best(siblings, (a, b) => compare(a, b) > 0);
  const tied = siblings.filter((sibling) => compare(sibling, top) === 0);
  if (tied.length === 1) return { winner: top, reason };
  const { winner, reason: stamps } = lastWriteWins.resolve(tied, NO_CONTEXT);
  return { winner, reason: tied.length === siblings.length ? stamps : reason };
}

/** Whether siblings disagree: equal values written twice are not a conflict. */
export function isContested(siblings: readonly Sibling[]): boolean {
  if (siblings.length < 2) return false;
  const first = canonicalize(siblings[0]!.value);
  return siblings.some((other) => canonicalize(other.value) !== first);
}

/** For resolvers that do not look at the history. */
export const NO_CONTEXT: ResolveContext = {
  historyOf() {
    throw new Error("this resolver has to declare needsHistory");
  },
};

const byStamp = (
  name: string,
  outranks: (a: Author, b: Author) => boolean,
  reason: "later-stamp" | "earlier-stamp",
): Resolver => ({
  name,
  version: 1,
  resolve(siblings) {
    const winner = best(siblings, (a, b) => outranks(a.by, b.by));
    const others = siblings.filter((other) => other !== winner);
    if (others.every(({ by }) => by.clockWrong && !winner.by.clockWrong)) return { winner, reason: "clock-trusted" };
    const isTied = others.some(({ by }) => by.clockWrong === winner.by.clockWrong && by.hlc === winner.by.hlc);
    return { winner, reason: isTied ? "origin-tie" : reason };
  },
});

/**
 * The write with the latest hybrid-clock stamp wins. A stamp of a clock known to be wrong never wins against one of another
 * clock. Between two such stamps, the later still wins, so the outcome is the same everywhere.
 */
export const lastWriteWins: Resolver = byStamp("lastWriteWins", laterThan, "later-stamp");

/** The write with the earliest stamp wins: first come, first served, by the devices' clocks. Wrong clocks lose as with `lastWriteWins`. */
export const firstWriteWins: Resolver = byStamp("firstWriteWins", earlierThan, "earlier-stamp");

/**
 * The hub's log decides: the write that came in last wins, or with `"first"` the one that came first. Until the receipt comes, a device shows its own
 * pending value, because that will be the last. With `"first"`, pending values lose.
 *
 * `options`: the hub whose order counts. Without it, it is the home hub: the one whose log the view is folded from. Where several hubs exchange events, name one, so that all of them show the
 * same. What another hub took in is unplaced, and so comes last, until the named hub has noted its place.
 */
export function logOrder(which: "last" | "first" = "last", options?: InOrderOf): Resolver {
  const hub = namedHub("logOrder", options);
  return {
    name: nameInOrderOf(which === "last" ? "logOrder" : "firstInLog", hub),
    version: 1,
    ...(hub === undefined ? {} : { hub }),
    resolve: (siblings) =>
      ranked(
        siblings,
        (a, b) => comparePlaces(placeIn(hub, a.by), placeIn(hub, b.by)) * (which === "last" ? 1 : -1),
        which === "last" ? "later-in-log" : "earlier-in-log",
      ),
  };
}

/** The write whose author had seen most of this entity's events wins; if two had seen equally many, the later stamp wins. */
export const versionCompare: Resolver = {
  name: "versionCompare",
  version: 1,
  needsHistory: true,
  resolve: (siblings, context) => ranked(siblings, (a, b) => context.historyOf(a) - context.historyOf(b), "longer-history"),
};

/** Writes of the site named first win over those of the next, and those over sites not named. Within a site: the later stamp. */
export function sitePriority(sites: readonly string[]): Resolver {
  const rank = ({ by }: Sibling): number => {
    const at = sites.findIndex((name) => isAt(name, by.origin));
    return at === -1 ? sites.length : at;
  };
  return {
    name: "sitePriority",
    version: 1,
    settings: [...sites],
    resolve: (siblings) => ranked(siblings, (a, b) => rank(b) - rank(a), "site-priority"),
  };
}

/** What the hub's own people wrote wins over what sites wrote. */
export const serverWins: Resolver = { ...sitePriority([HUB_SITE]), name: "serverWins" };
/** What sites wrote wins over what the hub's own people wrote. */
export const clientWins: Resolver = {
  name: "clientWins",
  version: 1,
  resolve: (siblings) =>
    ranked(siblings, (a, b) => Number(isAt(HUB_SITE, b.by.origin)) - Number(isAt(HUB_SITE, a.by.origin)), "site-priority"),
};

/** Orders JSON values: numbers by size, all others by the UTF-16 code units of their canonical form. A missing value is less than any other. */
function compareValues(a: JsonValue | undefined, b: JsonValue | undefined): number {
  if (a === b) return 0;
  const [aIsNone, bIsNone] = [a === null || a === undefined, b === null || b === undefined];
  if (aIsNone || bIsNone) return aIsNone && bIsNone ? 0 : aIsNone ? -1 : 1;
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a !== typeof b) return typeof a < typeof b ? -1 : 1;
  const [x, y] = [typeof a === "string" ? a : canonicalize(a!), typeof b === "string" ? b : canonicalize(b!)];
  return x < y ? -1 : x > y ? 1 : 0;
}

/** The other way round, except that a missing value still ranks last: what was never measured is not the smallest measure. */
function compareDown(a: JsonValue | undefined, b: JsonValue | undefined): number {
  const hasNone = a === null || a === undefined || b === null || b === undefined;
  return hasNone ? compareValues(a, b) : compareValues(b, a);
}

/**
 * Another member of the same event's data ranks the write: `byField("source_quality", "max")`. A missing value loses against any other. If two are
 * equal, the later stamp wins.
 */
export const byField = (member: string, which: "max" | "min"): Resolver => ({
  name: "byField",
  version: 1,
  settings: [member, which],
  reads: [member],
  resolve: (siblings) =>
    ranked(
      siblings,
      (a, b) => (which === "max" ? compareValues : compareDown)(a.read?.[member], b.read?.[member]),
      "field-priority",
    ),
});

/** The greatest value wins: numbers by size, texts by their order. A missing value loses against any other. */
export const max: Resolver = {
  name: "max",
  version: 1,
  resolve: (siblings) => ranked(siblings, (a, b) => compareValues(a.value, b.value), "greater"),
};

/** The least value wins. A missing value loses against any other. */
export const min: Resolver = {
  name: "min",
  version: 1,
  resolve: (siblings) => ranked(siblings, (a, b) => compareDown(a.value, b.value), "lesser"),
};

/** All values count: shows a list of what any sibling holds, each value once, in a fixed order. For `json()` columns. */
export const union: Resolver = {
  name: "union",
  version: 1,
  onlyFor: "json",
  resolve(siblings) {
    const all = new Map<string, JsonValue>();
    for (const { value } of siblings)
      for (const item of Array.isArray(value) ? value : value === null ? [] : [value]) all.set(canonicalize(item), item);
    const merged = [...all].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, item]) => item);
    return { winner: latest(siblings), reason: "merged", merged };
  },
};

/** A person decides: the conflict is a case in the queue. Until then the latest value by stamp is shown. */
export const manual: Resolver = {
  name: "manual",
  version: 1,
  resolve: (siblings) => ({ winner: latest(siblings), reason: "awaits-person", isOpen: true }),
};

export { isOneOf, type Who };

/** Writes of those who have the say win over all others; among equals, `otherwise` decides. */
export const authorityOf = (who: Who, otherwise: Resolver = lastWriteWins): Resolver => ({
  name: otherwise.hub === undefined ? "authority" : `authority, then ${otherwise.name}`,
  version: 1,
  settings: { who: who as JsonObject, otherwise: settingsOf(otherwise) },
  ...(otherwise.reads === undefined ? {} : { reads: otherwise.reads }),
  ...(otherwise.needsHistory === undefined ? {} : { needsHistory: otherwise.needsHistory }),
  ...(otherwise.hub === undefined ? {} : { hub: otherwise.hub }),
  ...(otherwise.onlyFor === undefined ? {} : { onlyFor: otherwise.onlyFor }),
  resolve(siblings, context) {
    const having = siblings.filter(({ by }) => isOneOf(who, by));
    if (having.length === 0 || having.length === siblings.length) return otherwise.resolve(siblings, context);
    // If those who have the say agree, nothing is left for `otherwise`, or for a person, to decide.
    return !isContested(having)
      ? { winner: latest(having), reason: "authority" }
      : { ...otherwise.resolve(having, context), reason: "authority" };
  },
});

/** Name, version and settings: two rules with the same ones are the same rule. */
export const settingsOf = ({ name, version, settings }: Resolver): JsonValue => [name, version, settings ?? null];

export interface CustomRule {
  readonly name: string;
  /** Raise it whenever `resolve` begins to answer differently: the view is then built again. */
  readonly version: number;
  /** The members of the event's data that siblings keep for the rule. */
  readonly reads?: readonly string[];
  /** The sibling to show, or a value made of all. Must not depend on the order of siblings, nor on anything but them. */
  resolve(siblings: readonly Sibling[]): { readonly winner: Sibling; readonly merged?: JsonValue; readonly isOpen?: boolean };
}

/**
 * A rule of the project's own. It is tried on every set in two orders. A rule whose answers differ is refused with `projection-failed`, because
 * replicas would not agree. `problemsOfRule` tries more, for tests.
 */
export const custom = ({ name, version, reads, resolve }: CustomRule): Resolver => ({
  name,
  version,
  ...(reads === undefined ? {} : { reads }),
  settings: ["custom", [...(reads ?? [])], resolve.toString()],
  resolve(siblings) {
    // Copies: a rule that sorts what it is given must not sort the state.
    const answer = resolve([...siblings]);
    const again = resolve([...siblings].reverse());
    if (!siblings.includes(answer.winner)) throw failed(name, "picks a value that is not one of the siblings");
    const shown = ({ merged, isOpen }: typeof answer): string => canonicalize([merged ?? null, isOpen === true]);
    if (answer.winner !== again.winner || shown(answer) !== shown(again))
      throw failed(name, "depends on the order of the siblings");
    return { ...answer, reason: "custom" };
  },
});

const failed = (name: string, problem: string): TributaryError =>
  new TributaryError("projection-failed", `the rule ${name} ${problem}`, "Make it a function of the set of siblings alone.");

/** Tries a resolver on sets of siblings, in several orders and twice each, and returns what is wrong with it; empty: nothing was found. For a project's tests. */
export function problemsOfRule(rule: Resolver, sets: Iterable<readonly Sibling[]>): string[] {
  const problems: string[] = [];
  // Each sibling has its own history, the same every time it is asked for.
  const context: ResolveContext =
    rule.needsHistory === true ? { historyOf: ({ by, basis }) => by.seq + Object.keys(basis ?? {}).length } : NO_CONTEXT;
  const shown = (siblings: readonly Sibling[]): string => {
    const { winner, reason, merged, isOpen } = rule.resolve([...siblings], context);
    if (!siblings.includes(winner)) problems.push(`${rule.name} picks a value that is not one of the siblings`);
    return canonicalize([winner.by.origin, winner.by.seq, reason, merged ?? null, isOpen === true]);
  };
  for (const siblings of sets) {
    try {
      const first = shown(siblings);
      if (shown(siblings) !== first) problems.push(`${rule.name} answers differently when asked twice`);
      for (let turn = 1; turn <= siblings.length; turn++) {
        const turned = [...siblings.slice(turn), ...siblings.slice(0, turn)];
        if (shown(turned) !== first || shown([...turned].reverse()) !== first)
          problems.push(`${rule.name} depends on the order of ${siblings.map(({ value }) => canonicalize(value)).join(", ")}`);
      }
    } catch (error) {
      problems.push(String(error));
    }
  }
  return [...new Set(problems)];
}

// ── deletion ────────────────────────────────────────────────────────────────

/** The values of the register `deleted` are booleans: `true` by removals, `false` by every other event. */
const deletion = (name: string, wins: boolean): Resolver => ({
  name,
  version: 1,
  onlyFor: "deleted",
  resolve(siblings) {
    const having = siblings.filter(({ value }) => value === wins);
    return having.length === 0
      ? { winner: latest(siblings), reason: wins ? "change-outranks" : "deletion-outranks" }
      : { winner: latest(having), reason: wins ? "deletion-outranks" : "change-outranks" };
  },
});

/** A deletion holds against concurrent changes. A change by somebody who had seen the deletion creates the entity again. */
export const deleteWins: Resolver = deletion("deleteWins", true);
/** A change holds against concurrent deletions. */
export const updateWins: Resolver = deletion("updateWins", false);

/** How many of these events a vector covers. */
export const countCovered = (dots: Readonly<Record<string, readonly number[]>>, vector: Sibling["basis"]): number => {
  let count = 0;
  for (const origin in dots)
    for (const seq of dots[origin]!) if (vector !== undefined && covers(vector, { origin, seq } as never)) count++;
  return count;
};
