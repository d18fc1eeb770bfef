/**
 * What a view shows, computed from its definitions: all events of one entity go in, and each answer is looked for among all of them each time. Slow and
 * plain on purpose. It shares nothing with `services/merge` but types: no test finds what both get wrong in the same way.
 */
import type { JsonObject, JsonValue } from "../../services/core/index.ts";
import type { FoldEvent, Reason, Who } from "../../services/merge/engine.ts";

/** A rule as the tests name it. */
export type PlainRule =
  | { readonly by: "lastWriteWins" | "firstWriteWins" | "versionCompare" | "serverWins" | "clientWins" }
  | { readonly by: "max" | "min" | "union" | "manual" | "deleteWins" | "updateWins" }
  | { readonly by: "logOrder"; readonly which: "last" | "first" }
  | { readonly by: "sitePriority"; readonly sites: readonly string[] }
  | { readonly by: "byField"; readonly member: string; readonly which: "max" | "min" }
  /** The project's own: the text that sorts first by `key` wins. */
  | { readonly by: "custom"; readonly key: (value: JsonValue) => string }
  | { readonly by: "authority"; readonly who: Who; readonly otherwise: PlainRule };

/** A view as the tests describe it, for `services/merge` and for this file alike. */
export interface ViewSpec {
  readonly name: string;
  readonly columns: readonly string[];
  readonly groups?: Readonly<Record<string, readonly string[]>>;
  readonly whole?: boolean;
  /** By register; `others` for the rest. */
  readonly rules: Readonly<Record<string, PlainRule>>;
  readonly authority?: Readonly<Record<string, Who>>;
}

interface Register {
  readonly name: string;
  readonly columns: readonly string[];
  readonly rule: PlainRule;
  readonly who: Who | null;
}

interface Wrote {
  readonly event: FoldEvent;
  readonly value: JsonValue;
}

interface Outcome {
  readonly winner: Wrote;
  readonly reason: Reason;
  readonly merged?: JsonValue;
  readonly isOpen?: boolean;
}

export interface ReferenceDecision {
  readonly register: string;
  readonly reason: Reason;
  readonly value: JsonValue;
  readonly winner: string;
  readonly losers: readonly string[];
  readonly isOpen: boolean;
}

export interface ReferenceView {
  readonly values: JsonObject;
  readonly deleted: boolean;
  readonly conflicts: number;
  readonly waitingFor: Readonly<Record<string, number>>;
  readonly siblings: Readonly<Record<string, readonly string[]>>;
  readonly decisions: readonly ReferenceDecision[];
}

export const dotOf = ({ origin, seq }: { readonly origin: string; readonly seq: number }): string => `${origin}/${seq}`;

/** Everything a view shows of one entity, or `null` where none of the events touches it. */
export function referenceView(spec: ViewSpec, arrived: readonly FoldEvent[]): ReferenceView | null {
  const events = onceEach(arrived).filter((event) => writtenBy(spec, event).size > 0);
  if (events.length === 0) return null;
  const values: Record<string, JsonValue> = {};
  const siblings: Record<string, string[]> = {};
  const decisions: ReferenceDecision[] = [];
  let deleted = false;
  for (const register of registersOf(spec)) {
    const standing = siblingsOf(spec, register, events);
    siblings[register.name] = standing.map(({ event }) => dotOf(event)).sort();
    const isContested = new Set(standing.map(({ value }) => plainText(value))).size > 1;
    let shown: JsonValue = standing[0]?.value ?? null;
    if (isContested) {
      const { winner, reason, merged, isOpen } = decided(register.rule, register.who, standing, events);
      shown = merged === undefined ? winner.value : merged;
      decisions.push({
        register: register.name,
        reason,
        value: shown,
        winner: dotOf(winner.event),
        losers: standing
          .filter((each) => each !== winner)
          .map(({ event }) => dotOf(event))
          .sort(),
        isOpen: isOpen === true,
      });
    }
    if (register.name === "deleted") deleted = shown === true;
    else if (spec.columns.includes(register.name)) values[register.name] = shown;
    else for (const column of register.columns) values[column] = (shown as JsonObject | null)?.[column] ?? null;
  }
  return { values, deleted, conflicts: decisions.length, waitingFor: missing(events), siblings, decisions };
}

/** Each event once; of several copies, what any of them says of its position and of its device's clock. */
function onceEach(arrived: readonly FoldEvent[]): FoldEvent[] {
  const dots = [...new Set(arrived.map(dotOf))];
  return dots.map((dot) => {
    const copies = arrived.filter((event) => dotOf(event) === dot);
    return {
      ...copies[0]!,
      position: copies.find(({ position }) => position !== null)?.position ?? null,
      clockWrong: copies.some(({ clockWrong }) => clockWrong),
    };
  });
}

function registersOf(spec: ViewSpec): Register[] {
  const groups = Object.entries(spec.groups ?? {});
  const grouped = groups.flatMap(([, members]) => members);
  const alone = spec.columns.filter((column) => !grouped.includes(column));
  const named: [string, readonly string[]][] = [
    ...groups,
    ...(spec.whole ? [["record", alone] as [string, string[]]] : alone.map((column): [string, string[]] => [column, [column]])),
    ["deleted", []],
  ];
  const later: PlainRule = { by: "lastWriteWins" };
  return named.map(([name, columns]) => ({
    name,
    columns,
    rule: spec.rules[name] ?? (name === "deleted" ? later : (spec.rules.others ?? later)),
    who: spec.authority?.[name] ?? null,
  }));
}

/** What an event writes, by register: the event types are those of `histories.ts`. */
function writtenBy(spec: ViewSpec, event: FoldEvent): Map<string, JsonValue> {
  const written = new Map<string, JsonValue>();
  let named: Readonly<Record<string, JsonValue | undefined>> = {};
  switch (event.type) {
    case "person.removed":
      written.set("deleted", true);
      return written;
    case "person.registered":
    case "person.updated":
      named = event.data;
      written.set("deleted", false);
      break;
    case "person.phoned":
      named = { phone: event.data.phone };
      written.set("deleted", false);
      break;
    case "person.moved":
      named = { district: event.site, village: event.data.village };
      written.set("deleted", false);
      break;
    case "conflict.resolved":
      named = (event.data.values ?? {}) as JsonObject;
      if (typeof event.data.deleted === "boolean") written.set("deleted", event.data.deleted);
      break;
    default:
      return written;
  }
  for (const { name, columns } of registersOf(spec)) {
    if (!columns.some((column) => named[column] !== undefined)) continue;
    const isColumn = columns.length === 1 && columns[0] === name;
    written.set(name, isColumn ? named[name]! : Object.fromEntries(columns.map((column) => [column, named[column] ?? null])));
  }
  return written;
}

/** Whether the author of `b` had seen `a`. */
const hadSeen = (b: FoldEvent, a: FoldEvent): boolean =>
  a.origin === b.origin ? a.seq < b.seq : (b.basis[a.origin] ?? -1) >= a.seq;

/** Writes that no other write of the register covers. Writes of authors without the say cover none of those who have it. */
function siblingsOf(spec: ViewSpec, { name, who }: Register, events: readonly FoldEvent[]): Wrote[] {
  const writes = events.flatMap((event): Wrote[] => {
    const value = writtenBy(spec, event).get(name);
    return value === undefined ? [] : [{ event, value }];
  });
  const hasSay = (event: FoldEvent): boolean => who === null || isAmong(who, event);
  return writes.filter(
    ({ event }) => !writes.some((other) => hadSeen(other.event, event) && (hasSay(other.event) || !hasSay(event))),
  );
}

const isAmong = (who: Who, { origin, actor }: FoldEvent): boolean => {
  const [org, site] = origin.split(".");
  const isOrg = (who.orgs ?? []).includes(org!);
  const isSite = (who.sites ?? []).includes(site!) || (who.sites ?? []).includes(`${org}.${site}`);
  return isOrg || isSite || (who.actors ?? []).includes(actor);
};

/** Events on which others build and that are not here. */
function missing(events: readonly FoldEvent[]): Record<string, number> {
  const out: Record<string, number> = {};
  for (const { basis, origin: own } of events)
    for (const [origin, seq] of Object.entries(basis)) {
      if (origin === own || events.some((event) => event.origin === origin && event.seq >= seq)) continue;
      out[origin] = Math.max(out[origin] ?? 0, seq);
    }
  return out;
}

/** One text for each value, whatever the order of its members. */
function plainText(value: JsonValue): string {
  return JSON.stringify(value, (_, each: unknown) =>
    typeof each === "object" && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each,
  );
}

// ── resolvers, each from its one sentence ───────────────────────────────────

function decided(rule: PlainRule, who: Who | null, standing: readonly Wrote[], events: readonly FoldEvent[]): Outcome {
  return resolved(who === null ? rule : { by: "authority", who, otherwise: rule }, standing, events);
}

function resolved(rule: PlainRule, standing: readonly Wrote[], events: readonly FoldEvent[]): Outcome {
  switch (rule.by) {
    case "lastWriteWins":
      return byClock(standing, "later-stamp");
    case "firstWriteWins":
      return byClock(standing, "earlier-stamp");
    case "logOrder": {
      const positionOf = ({ event }: Wrote): number => event.position ?? Number.MAX_VALUE;
      return rule.which === "last"
        ? highest(standing, positionOf, "later-in-log")
        : highest(standing, (each) => -positionOf(each), "earlier-in-log");
    }
    case "versionCompare":
      return highest(standing, ({ event }) => events.filter((other) => hadSeen(event, other)).length, "longer-history");
    case "sitePriority":
      return highest(standing, (each) => -rankOf(rule.sites, each.event), "site-priority");
    case "serverWins":
      return highest(standing, ({ event }) => (event.origin.split(".")[1] === "hub" ? 1 : 0), "site-priority");
    case "clientWins":
      return highest(standing, ({ event }) => (event.origin.split(".")[1] === "hub" ? 0 : 1), "site-priority");
    case "byField": {
      const inOrder = sortedValues(
        standing.map(({ event }) => event.data[rule.member] ?? null),
        rule.which === "min",
      );
      return highest(standing, ({ event }) => inOrder.indexOf(plainText(event.data[rule.member] ?? null)), "field-priority");
    }
    case "max":
    case "min": {
      const inOrder = sortedValues(
        standing.map(({ value }) => value),
        rule.by === "min",
      );
      return highest(standing, ({ value }) => inOrder.indexOf(plainText(value)), rule.by === "max" ? "greater" : "lesser");
    }
    case "union": {
      const items = standing.flatMap(({ value }) => (value === null ? [] : Array.isArray(value) ? value : [value]));
      const merged = [...new Set(items.map(plainText))].sort().map((text) => JSON.parse(text) as JsonValue);
      return { winner: byClock(standing, "later-stamp").winner, reason: "merged", merged };
    }
    case "manual":
      return { winner: byClock(standing, "later-stamp").winner, reason: "awaits-person", isOpen: true };
    case "deleteWins":
    case "updateWins": {
      const wins = rule.by === "deleteWins";
      const winner = byClock(
        standing.filter(({ value }) => value === wins),
        "later-stamp",
      ).winner;
      return { winner, reason: wins ? "deletion-outranks" : "change-outranks" };
    }
    case "custom": {
      const keyed = standing.map((each) => ({ each, key: `${rule.key(each.value)} ${dotOf(each.event)}` }));
      return { winner: keyed.sort((a, b) => (a.key < b.key ? -1 : 1))[0]!.each, reason: "custom" };
    }
    case "authority": {
      const having = standing.filter(({ event }) => isAmong(rule.who, event));
      if (having.length === 0 || having.length === standing.length) return resolved(rule.otherwise, standing, events);
      // Those who have the say agree among themselves: there is nothing that another rule could decide.
      const agree = having.every(({ value }) => plainText(value) === plainText(having[0]!.value));
      return agree
        ? { winner: byClock(having, "later-stamp").winner, reason: "authority" }
        : { ...resolved(rule.otherwise, having, events), reason: "authority" };
    }
  }
}

/** The latest or earliest stamp among clocks that are right, if any is; then by the origin's name, then by number. */
function byClock(standing: readonly Wrote[], reason: "later-stamp" | "earlier-stamp"): Outcome {
  const trusted = standing.filter(({ event }) => !event.clockWrong);
  const pool = trusted.length > 0 ? trusted : standing;
  const key = ({ event }: Wrote): string => `${event.hlc} ${event.origin} ${String(event.seq).padStart(9, "0")}`;
  const inOrder = [...pool].sort((a, b) => (key(a) < key(b) ? -1 : 1));
  const winner = reason === "later-stamp" ? inOrder.at(-1)! : inOrder[0]!;
  if (pool.length === 1 && standing.length > 1) return { winner, reason: "clock-trusted" };
  return { winner, reason: pool.filter(({ event }) => event.hlc === winner.event.hlc).length > 1 ? "origin-tie" : reason };
}

/** The write of highest rank; where several have it, the latest of them. The reason is the stamps' if all have the same rank. */
function highest(standing: readonly Wrote[], rank: (each: Wrote) => number, reason: Reason): Outcome {
  const top = Math.max(...standing.map(rank));
  const tied = standing.filter((each) => rank(each) === top);
  const outcome = byClock(tied, "later-stamp");
  return { winner: outcome.winner, reason: tied.length === standing.length ? outcome.reason : reason };
}

const rankOf = (sites: readonly string[], { origin }: FoldEvent): number => {
  const [org, site] = origin.split(".");
  const at = sites.findIndex((name) => name === site || name === `${org}.${site}`);
  return at === -1 ? sites.length : at;
};

/** Values as texts, least first (`isReversed`: greatest first), and `null` before all of them either way. */
function sortedValues(values: readonly JsonValue[], isReversed: boolean): string[] {
  const numbers = values.filter((value) => typeof value === "number").sort((a, b) => a - b);
  const texts = values.filter((value) => typeof value === "string").sort();
  const rest = values.filter((value) => value !== null && typeof value !== "number" && typeof value !== "string");
  const booleans = rest
    .filter((value) => typeof value === "boolean")
    .map(plainText)
    .sort();
  const objects = rest
    .filter((value) => typeof value !== "boolean")
    .map(plainText)
    .sort();
  const all = [...booleans, ...numbers.map(plainText), ...objects, ...texts.map(plainText)];
  return ["null", ...(isReversed ? all.reverse() : all)];
}
