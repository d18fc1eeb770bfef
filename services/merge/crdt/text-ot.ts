import { type TextOp, type as textType } from "ot-text-unicode";
import {
  comparePlaces,
  type IncarnationId,
  isJsonObject,
  type JsonValue,
  type OriginId,
  type Place,
  type Seq,
} from "../../core/index.ts";
import type { Crdt, CrdtWrite } from "../crdt.ts";
import { type InOrderOf, namedHub, nameInOrderOf, placeIn } from "../hub-order.ts";
import { findRow, refuseProblem } from "./dots.ts";

/** Most parts (skip, insert, delete) of one op. */
export const MAX_OP_PARTS = 10_000;
/** At most so many ops may come before an op without its author knowing them. An op with more is left out: compose edits before writing them. */
export const MAX_CONCURRENT_OPS = 512;
/** Bringing ops into each other's context may cost at most so many steps for one op: several times what a team's history behind one hub needs. */
const MAX_STEPS_PER_OP = 8 * MAX_CONCURRENT_OPS;
/** How deep contexts may refer to each other: no history behind one hub comes near this, and it is well within any engine's stack. */
const MAX_DEPTH = 256;
/** At most so many ops are kept in other contexts than their own while reading, in each of two generations. */
const MAX_REMEMBERED = 100_000;

/** `w`: the writes, sorted by dot; `basis`: [origin, seq] of other origins, sorted. */
interface State {
  readonly w: readonly Written[];
}
type Written = readonly [
  origin: OriginId,
  seq: Seq,
  rank: Rank,
  basis: readonly (readonly [OriginId, Seq])[],
  op: readonly Part[],
];
/** Where the order has a write: a position in the home hub's log, or a place in the order of the hub that is named. */
type Rank = number | Place | null;
type Part = number | string | { readonly d: number };

const SHAPE =
  'a text op is a list of numbers (skip), texts (insert) and {"d": count} (delete), in characters; see ot-text-unicode';

const isCount = (value: JsonValue | undefined): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value > 0;
const isInsert = (value: JsonValue | undefined): value is string =>
  typeof value === "string" && value !== "" && value.isWellFormed();

const isPart = (part: JsonValue): boolean =>
  isCount(part) ||
  isInsert(part) ||
  (isJsonObject(part) && Object.keys(part).length === 1 && (isCount(part.d) || isInsert(part.d)));

function problemOf(value: JsonValue): string | null {
  if (!Array.isArray(value)) return SHAPE;
  if (value.length > MAX_OP_PARTS) return `an op has at most ${MAX_OP_PARTS} parts`;
  if (!value.every(isPart)) return SHAPE;
  return Number.isSafeInteger(lengthBefore(plainOf(value))) ? null : "the op is longer than any text";
}

const codePoints = (text: string): number => {
  let count = 0;
  for (const _ of text) count++;
  return count;
};

/** The op with deletions as counts, in a copy: the library's `normalize` writes into the parts that it is given. */
const plainOf = (op: JsonValue): TextOp =>
  (op as readonly (number | string | { d: number | string })[]).map((part) =>
    typeof part === "object" ? { d: typeof part.d === "string" ? codePoints(part.d) : part.d } : part,
  );

/** How many characters of the text an op speaks of. */
const lengthBefore = (op: TextOp): number =>
  op.reduce<number>(
    (sum, part) => sum + (typeof part === "number" ? part : typeof part === "object" ? (part.d as number) : 0),
    0,
  );

const placeOf = (rank: Rank): Place | null => (typeof rank === "number" ? [rank, 0] : rank);
/** One of a write's two ranks: the known one. If both are known and differ, the first. */
const knownRank = (a: Rank, b: Rank): Rank => (comparePlaces(placeOf(a), placeOf(b)) <= 0 ? a : b);

/**
 * A text that several edit at once, by operational transformation in the order of the hub's log: what came first stays where its author put
 * it, and what comes later is moved to make room. A write is an op of ot-text-unicode, such as `composeEdit` gives.
 *
 * What is shown is a function of the set of writes. Ops are taken in the order of their positions in the log, those without one last (by
 * origin and seq), but none before one that its author had seen. Each op was made on the text that the ops its basis covers result in (an author
 * who saw an op counts as having seen what that op builds on); it is transformed over the ops before it that its basis does not cover, each in
 * the context that it then has. Of two insertions at one point of the text, the one earlier in the order goes first. An op that does not fit its text, or
 * is concurrent with too many others (`MAX_CONCURRENT_OPS`), changes nothing and is listed by `textProblems`.
 *
 * When all replicas hear of each other through one hub, every edit lands where its author made it. Replicas that exchange writes before the hub has
 * given them positions still end with the same text, but an edit may land beside its neighbour if that neighbour's rank in the order changed.
 * Source: Nichols et al., "High-Latency, Low-Bandwidth Windowing in the Jupiter Collaboration System", 1995.
 */
export const sequencedText: Crdt = sequenced(undefined);

/** `sequencedText` in the order of the hub that is named, wherever it is folded. What another hub took in is unplaced until the named hub has noted its place. */
export const sequencedTextOf = (options: InOrderOf): Crdt => sequenced(namedHub("sequencedText", options));

function sequenced(hub: IncarnationId | undefined): Crdt {
  return {
    name: nameInOrderOf("sequencedText", hub),
    version: 1,
    ...(hub === undefined ? {} : { hub }),
    columns: ["text"],
    leftOut: (state) =>
      textProblems(state).map(({ origin, seq, reason }) =>
        reason === "does-not-fit"
          ? `the edit ${origin}/${seq} does not fit the text it says it was made on`
          : `the edit ${origin}/${seq} was made beside too many others`,
      ),
    problem: problemOf,
    join(state, { by, basis, value }) {
      refuseProblem("sequencedText", problemOf(value));
      const { w } = (state ?? { w: [] }) as unknown as State;
      const at = findRow(w, by);
      if (at >= 0) {
        const [origin, seq, rank, ...rest] = w[at]!;
        const known = knownRank(rank, rankOf(by));
        return known === rank ? state! : ({ w: w.with(at, [origin, seq, known, ...rest]) } as unknown as JsonValue);
      }
      const others = (Object.keys(basis) as OriginId[]).filter((origin) => origin !== by.origin).sort();
      const op = textType.normalize(plainOf(value)) as Part[];
      const write: Written = [by.origin, by.seq, rankOf(by), others.map((origin) => [origin, basis[origin]!]), op];
      return { w: w.toSpliced(-1 - at, 0, write) } as unknown as JsonValue;
    },
    read: (state) => played(state).text,
  };

  function rankOf(by: CrdtWrite["by"]): Rank {
    return hub === undefined ? by.position : placeIn(hub, by);
  }
}

/** A write that changes nothing in the text, and why. */
export interface TextProblem {
  readonly origin: OriginId;
  readonly seq: Seq;
  /** `does-not-fit`: the op is longer than the text. `too-concurrent`: too many ops came before it that its author did not know. */
  readonly reason: "does-not-fit" | "too-concurrent";
}

/** The writes that change nothing in the text although they should, in the order in which they were taken. */
export const textProblems = (state: JsonValue): readonly TextProblem[] => played(state).problems;

/** The shortest op that turns `before` into `after` by replacing one stretch. It counts characters and never cuts one in two. */
export function composeEdit(before: string, after: string): JsonValue {
  const [old, now] = [Array.from(before), Array.from(after)];
  const shorter = Math.min(old.length, now.length);
  let head = 0;
  while (head < shorter && old[head] === now[head]) head++;
  let tail = 0;
  while (tail < shorter - head && old[old.length - 1 - tail] === now[now.length - 1 - tail]) tail++;
  const deleted = old.length - head - tail;
  const inserted = now.slice(head, now.length - tail).join("");
  const parts: Part[] = [];
  if (deleted === 0 && inserted === "") return parts;
  if (head > 0) parts.push(head);
  if (inserted !== "") parts.push(inserted);
  if (deleted > 0) parts.push({ d: deleted });
  return parts;
}

/** How many writes of each origin are in it, in the order of their seqs. A basis covers the author's own earlier writes, so every context is such a list. */
type Context = readonly number[];

interface Ranked {
  readonly write: Written;
  /** The write's origin, as a number, and how many of that origin's writes go before it. */
  readonly lane: number;
  readonly index: number;
  /** The writes that its author had seen, and those that they build on. */
  readonly context: Context;
  /** The write's rank in the order, from 0. */
  readonly rank: number;
  /** The op; `[]` once it was found to change nothing. */
  op: TextOp;
}

/** Orders writes by their ranks; those without one come last, by dot. */
const comesBefore = (a: Written, b: Written): boolean => {
  const order = comparePlaces(placeOf(a[2]), placeOf(b[2]));
  if (order !== 0) return order < 0;
  return a[0] === b[0] ? a[1] < b[1] : a[0] < b[0];
};

/** All writes in the order in which they are taken, by lane. Where bases claim each other in a circle, the next write of the order goes first. */
function rankAll({ w }: State): { readonly order: readonly Ranked[]; readonly lanes: readonly (readonly Ranked[])[] } {
  const laneOf = new Map<OriginId, number>();
  const waiting: Written[][] = [];
  for (const write of w) {
    const lane = laneOf.get(write[0]) ?? waiting.push([]) - 1;
    laneOf.set(write[0], lane);
    waiting[lane]!.push(write);
  }
  /** How many writes of each lane a write's basis covers. */
  const claimOf = (write: Written): number[] => {
    const claim = waiting.map(() => 0);
    for (const [origin, seq] of write[3]) {
      const lane = laneOf.get(origin);
      if (lane === undefined) continue;
      const at = findRow(waiting[lane]!, { origin, seq });
      claim[lane] = at < 0 ? -1 - at : at + 1;
    }
    return claim;
  };
  const lanes = waiting.map((): Ranked[] => []);
  const claims = waiting.map(([first]) => claimOf(first!));
  const order: Ranked[] = [];
  const heads = new Set(waiting.keys());
  while (order.length < w.length) {
    let next = -1;
    let nextIsReady = false;
    for (const lane of heads) {
      const isReady = claims[lane]!.every((count, other) => count <= lanes[other]!.length);
      const isSooner = next < 0 || (isReady === nextIsReady ? comesBefore(headOf(lane), headOf(next)) : isReady);
      if (isSooner) [next, nextIsReady] = [lane, isReady];
    }
    const write = headOf(next);
    const index = lanes[next]!.length;
    const context = claims[next]!.map((count, lane) => (lane === next ? index : Math.min(count, lanes[lane]!.length)));
    for (const [lane, count] of [...context].entries()) {
      if (count === 0) continue;
      for (const [i, also] of lanes[lane]![count - 1]!.context.entries()) context[i] = Math.max(context[i]!, also);
    }
    const ranked: Ranked = { write, lane: next, index, context, rank: order.length, op: write[4] as TextOp };
    order.push(ranked);
    lanes[next]!.push(ranked);
    if (index + 1 < waiting[next]!.length) claims[next] = claimOf(headOf(next));
    else heads.delete(next);
  }
  return { order, lanes };

  function headOf(lane: number): Written {
    return waiting[lane]![lanes[lane]!.length]!;
  }
}

/** Thrown when an op would cost more than it may. */
class TooConcurrent extends Error {}

interface Played {
  readonly text: string;
  readonly problems: readonly TextProblem[];
}
const known = new WeakMap<object, Played>();

function played(state: JsonValue): Played {
  const before = known.get(state as object);
  if (before !== undefined) return before;
  const result = play(state as unknown as State);
  known.set(state as object, result);
  return result;
}

// Long because the transformations call one another over one memo and one bound of steps.
function play(state: State): Played {
  const { order, lanes } = rankAll(state);
  const memo = createMemo();
  const problems: TextProblem[] = [];
  let steps = 0;

  /** The op in a context that holds the op's own context but not the op. It is transformed over the others in the one order, so every way gives the same result. */
  function inContext(ranked: Ranked, context: Context, depth: number): TextOp {
    if (depth > MAX_DEPTH) throw new TooConcurrent();
    // Back to the nearest context for which the op is known, at worst the one it was made in.
    const unmet: { readonly other: Ranked; readonly before: Context }[] = [];
    let op: TextOp | undefined;
    for (let here = context; op === undefined; ) {
      const other = lastUnmet(ranked, here);
      if (other === undefined) {
        op = ranked.op;
        break;
      }
      op = memo.get(ranked, here);
      if (op !== undefined) break;
      if (unmet.length >= MAX_CONCURRENT_OPS) throw new TooConcurrent();
      here = here.with(other.lane, here[other.lane]! - 1);
      unmet.push({ other, before: here });
    }
    // And forward again, over one other op after the other.
    for (const { other, before } of unmet.reverse()) {
      if (++steps > MAX_STEPS_PER_OP) throw new TooConcurrent();
      if (op.length > 0) {
        const met: TextOp = other.op.length === 0 ? [] : inContext(other, before, depth + 1);
        if (met.length > 0) op = textType.transform(op, met, ranked.rank < other.rank ? "left" : "right");
      }
      memo.set(ranked, before.with(other.lane, before[other.lane]! + 1), op);
    }
    return op;
  }

  /** Of the ops in a context that this op was made without, the last in the order. */
  function lastUnmet(ranked: Ranked, context: Context): Ranked | undefined {
    let last: Ranked | undefined;
    for (let lane = 0; lane < context.length; lane++) {
      if (context[lane]! <= ranked.context[lane]!) continue;
      const other = lanes[lane]![context[lane]! - 1]!;
      if (last === undefined || other.rank > last.rank) last = other;
    }
    return last;
  }

  let text = "";
  let length = 0;
  const all: number[] = lanes.map(() => 0);
  for (const ranked of order) {
    const [origin, seq] = ranked.write;
    steps = 0;
    let reason: TextProblem["reason"] | null = null;
    try {
      const op = inContext(ranked, [...all], 0);
      memo.keep(ranked, all, op);
      // The library would skip beyond the end of a text step by step, and silently delete beyond it.
      if (lengthBefore(op) > length) reason = "does-not-fit";
      else if (op.length > 0) {
        text = textType.apply(text, op);
        for (const part of op)
          if (typeof part === "string") length += codePoints(part);
          else if (typeof part === "object") length -= part.d as number;
      }
    } catch (error) {
      if (!(error instanceof TooConcurrent)) throw error;
      reason = "too-concurrent";
    }
    if (reason !== null) {
      problems.push({ origin, seq, reason });
      ranked.op = [];
    }
    all[ranked.lane]!++;
  }
  return { text, problems };
}

/** Ops by context, in two generations: what the last ops did not use is forgotten, so a long history of few conflicts takes little room. */
function createMemo() {
  let young = new Map<string, TextOp>();
  let old = new Map<string, TextOp>();
  const kept = new Map<string, TextOp>();
  const nameOf = ({ rank }: Ranked, context: Context): string => `${rank}:${context.join()}`;
  const put = (name: string, op: TextOp): void => {
    if (young.size >= MAX_REMEMBERED) [old, young] = [young, new Map()];
    young.set(name, op);
  };
  return {
    get(ranked: Ranked, context: Context): TextOp | undefined {
      const name = nameOf(ranked, context);
      const recent = kept.get(name) ?? young.get(name);
      if (recent !== undefined) return recent;
      const older = old.get(name);
      if (older !== undefined) put(name, older);
      return older;
    },
    set: (ranked: Ranked, context: Context, op: TextOp): void => put(nameOf(ranked, context), op),
    /** How the op was applied; kept for good. An author who was away since before it starts from there. */
    keep: (ranked: Ranked, context: Context, op: TextOp): void => void kept.set(nameOf(ranked, context), op),
  };
}
