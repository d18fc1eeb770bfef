import type { Hlc, JsonObject, JsonValue, OriginId, Places, Seq, Vector } from "../core/index.ts";
import type { Dots, EntityState } from "./fold.ts";
import type { Author, Register, Sibling } from "./register.ts";

/** A sibling: its author and its value and, if its rule needs them, what it read and its basis; and what of it is withheld. Its author chooses the value only. */
type PackedSibling = [number, JsonValue, (JsonObject | 0)?, (number | null)?, Lacking?];
/** What this replica may not see of a sibling: its value, what its rule read, or both. */
type Lacking = 1 | 2 | 3;

/**
 * An entity's state as compact JSON. Authors and vectors, which many registers share, stand there only once.
 * `a`: authors [origin, seq, hlc, actor, clockWrong, position, places if any]; `v`: vectors; `r`: register → [context, sibling …];
 * `m`: registers that merge by themselves; `u`: the writes to these that are withheld; `d`: the entity's events.
 */
interface Packed {
  readonly a: [OriginId, Seq, Hlc, string, 0 | 1, number | null, Places?][];
  readonly v: Vector[];
  readonly r: Record<string, [number, ...PackedSibling[]]>;
  readonly s: number;
  readonly f: number;
  readonly m?: Readonly<Record<string, JsonValue>>;
  readonly u?: EntityState["unseen"];
  readonly d?: Dots;
}

/** So many are compared one by one: most entities have few authors and vectors, for which a map of their texts costs more than it saves. */
const FEW = 16;

/** What is written once and named by its number, in the order in which it is first met. What is met again is mostly the same object. */
class Numbers<T extends object> {
  readonly of: T[] = [];
  readonly #isSame: (a: T, b: T) => boolean;
  readonly #textOf: (each: T) => string;
  /** Objects that were met and are equal to one that is numbered. */
  readonly #others = new Map<T, number>();
  #texts: Map<string, number> | null = null;

  constructor(isSame: (a: T, b: T) => boolean, textOf: (each: T) => string) {
    this.#isSame = isSame;
    this.#textOf = textOf;
  }

  at(each: T): number {
    const { of } = this;
    if (of.length > FEW) return this.#among(each);
    for (let i = 0; i < of.length; i++) if (of[i] === each) return i;
    for (let i = 0; i < of.length; i++) if (this.#isSame(of[i]!, each)) return i;
    return of.push(each) - 1;
  }

  #among(each: T): number {
    const known = this.#others.get(each);
    if (known !== undefined) return known;
    this.#texts ??= new Map(this.of.map((other, i) => [this.#textOf(other), i]));
    const text = this.#textOf(each);
    let at = this.#texts.get(text);
    if (at === undefined) {
      at = this.of.push(each) - 1;
      this.#texts.set(text, at);
    }
    this.#others.set(each, at);
    return at;
  }
}

/** Whether two vectors have one text: the same origins in the same order. */
function isSameVector(a: Vector, b: Vector): boolean {
  const [mine, theirs] = [Object.keys(a), Object.keys(b)];
  if (mine.length !== theirs.length) return false;
  for (let i = 0; i < mine.length; i++) {
    const origin = mine[i] as OriginId;
    if (origin !== theirs[i] || a[origin] !== b[origin]) return false;
  }
  return true;
}
const vectorText = (vector: Vector): string => JSON.stringify(vector);
const isSameAuthor = (a: Author, b: Author): boolean => a.seq === b.seq && a.origin === b.origin;
const authorText = ({ origin, seq }: Author): string => `${origin}/${seq}`;

const packedAuthor = ({ origin, seq, hlc, actor, clockWrong, position, places }: Author): Packed["a"][number] =>
  places === undefined
    ? [origin, seq, hlc, actor, clockWrong ? 1 : 0, position]
    : [origin, seq, hlc, actor, clockWrong ? 1 : 0, position, places];

/** Writes a state as JSON text for the database. */
export function packState(state: EntityState): string {
  const authors = new Numbers(isSameAuthor, authorText);
  const vectors = new Numbers(isSameVector, vectorText);
  const siblingOf = ({ by, value, read, basis, withheld, unread }: Sibling): PackedSibling =>
    withheld !== undefined || unread !== undefined
      ? [authors.at(by), value, read ?? 0, basis === undefined ? null : vectors.at(basis), lackingOf(withheld, unread)]
      : basis !== undefined
        ? [authors.at(by), value, read ?? 0, vectors.at(basis)]
        : read !== undefined
          ? [authors.at(by), value, read]
          : [authors.at(by), value];
  const r: Record<string, [number, ...PackedSibling[]]> = {};
  for (const name in state.registers) {
    const { context, siblings } = state.registers[name]!;
    const packed: [number, ...PackedSibling[]] = [vectors.at(context)];
    for (const sibling of siblings) packed.push(siblingOf(sibling));
    r[name] = packed;
  }
  const s = vectors.at(state.seen);
  const f = vectors.at(state.referred);
  const packed: Packed = { a: authors.of.map(packedAuthor), v: vectors.of, r, s, f };
  let hasMerged = false;
  for (const _ in state.merged) {
    hasMerged = true;
    break;
  }
  if (!hasMerged && state.unseen === undefined && state.dots === null) return JSON.stringify(packed);
  return JSON.stringify({
    ...packed,
    ...(hasMerged ? { m: state.merged } : {}),
    ...(state.unseen === undefined ? {} : { u: state.unseen }),
    ...(state.dots === null ? {} : { d: state.dots }),
  });
}

const lackingOf = (withheld: true | undefined, unread: true | undefined): Lacking =>
  withheld === undefined ? 2 : unread === undefined ? 1 : 3;

/** Reads what `packState` wrote. */
export function unpackState(text: string): EntityState {
  const { a, v, r, s, f, m, u, d } = JSON.parse(text) as Packed;
  const authors = a.map(authorIn);
  const registers: Record<string, Register> = {};
  for (const name in r) {
    const packed = r[name]!;
    const siblings: Sibling[] = [];
    for (let i = 1; i < packed.length; i++) siblings.push(siblingIn(packed[i] as PackedSibling, authors, v));
    registers[name] = { context: v[packed[0]]!, siblings };
  }
  const state = { registers, merged: m ?? {}, seen: v[s]!, referred: v[f]!, dots: d ?? null };
  return u === undefined ? state : { ...state, unseen: u };
}

/** By index, since taking an array apart by a pattern costs more than all the rest. */
function authorIn(packed: Packed["a"][number]): Author {
  const author = {
    origin: packed[0],
    seq: packed[1],
    hlc: packed[2],
    actor: packed[3],
    clockWrong: packed[4] === 1,
    position: packed[5],
  };
  const places = packed[6];
  return places === undefined ? author : { ...author, places };
}

function siblingIn(packed: PackedSibling, authors: readonly Author[], v: readonly Vector[]): Sibling {
  const by = authors[packed[0]]!;
  const value = packed[1];
  if (packed.length === 2) return { by, value };
  const [, , read, basis, lacks] = packed;
  return {
    ...{ by, value },
    ...(read === undefined || read === 0 ? {} : { read }),
    ...(basis === undefined || basis === null ? {} : { basis: v[basis]! }),
    ...(lacks === undefined ? {} : { ...(lacks === 2 ? {} : WITHHELD_VALUE), ...(lacks === 1 ? {} : UNREAD) }),
  };
}
const WITHHELD_VALUE = { withheld: true } as const;
const UNREAD = { unread: true } as const;
