import type { Hlc, JsonObject, JsonValue, OriginId, Seq, Vector } from "../core/index.ts";
import type { Dots, EntityState } from "./fold.ts";
import type { Author, Register, Sibling } from "./register.ts";

/** A sibling: its author and its value and, if its rule needs them, what it read and its basis; and what of it is withheld. Its author chooses the value only. */
type PackedSibling = [number, JsonValue, (JsonObject | 0)?, (number | null)?, Lacking?];
/** What this replica may not see of a sibling: its value, what its rule read, or both. */
type Lacking = 1 | 2 | 3;

/**
 * An entity's state as compact JSON. Authors and vectors, which many registers share, stand there only once.
 * `a`: authors [origin, seq, hlc, actor, clockWrong, position]; `v`: vectors; `r`: register → [context, sibling …];
 * `m`: registers that merge by themselves; `u`: the writes to these that are withheld; `d`: the entity's events.
 */
interface Packed {
  readonly a: [OriginId, Seq, Hlc, string, 0 | 1, number | null][];
  readonly v: Vector[];
  readonly r: Record<string, [number, ...PackedSibling[]]>;
  readonly s: number;
  readonly f: number;
  readonly m?: Readonly<Record<string, JsonValue>>;
  readonly u?: EntityState["unseen"];
  readonly d?: Dots;
}

/** Writes a state as JSON text for the database. */
export function packState(state: EntityState): string {
  const authors = new Map<string, number>();
  const packed: Packed = { a: [], v: [], r: {}, s: 0, f: 0 };
  const vectors = new Map<string, number>();
  const byIdentity = new Map<object, number>();
  const vectorAt = (vector: Vector): number => {
    const known = byIdentity.get(vector);
    if (known !== undefined) return known;
    const text = JSON.stringify(vector);
    let at = vectors.get(text);
    if (at === undefined) {
      at = packed.v.push(vector) - 1;
      vectors.set(text, at);
    }
    byIdentity.set(vector, at);
    return at;
  };
  const authorAt = (by: Author): number => {
    const known = byIdentity.get(by);
    if (known !== undefined) return known;
    const key = `${by.origin}/${by.seq}`;
    let at = authors.get(key);
    if (at === undefined) {
      at = packed.a.push([by.origin, by.seq, by.hlc, by.actor, by.clockWrong ? 1 : 0, by.position]) - 1;
      authors.set(key, at);
    }
    byIdentity.set(by, at);
    return at;
  };
  const siblingOf = ({ by, value, read, basis, withheld, unread }: Sibling): PackedSibling =>
    withheld !== undefined || unread !== undefined
      ? [authorAt(by), value, read ?? 0, basis === undefined ? null : vectorAt(basis), lackingOf(withheld, unread)]
      : basis !== undefined
        ? [authorAt(by), value, read ?? 0, vectorAt(basis)]
        : read !== undefined
          ? [authorAt(by), value, read]
          : [authorAt(by), value];
  for (const name in state.registers) {
    const { context, siblings } = state.registers[name]!;
    packed.r[name] = [vectorAt(context), ...siblings.map(siblingOf)];
  }
  return JSON.stringify({
    ...packed,
    s: vectorAt(state.seen),
    f: vectorAt(state.referred),
    ...(Object.keys(state.merged).length === 0 ? {} : { m: state.merged }),
    ...(state.unseen === undefined ? {} : { u: state.unseen }),
    ...(state.dots === null ? {} : { d: state.dots }),
  });
}

const lackingOf = (withheld: true | undefined, unread: true | undefined): Lacking =>
  withheld === undefined ? 2 : unread === undefined ? 1 : 3;

/** Reads what `packState` wrote. */
export function unpackState(text: string): EntityState {
  const { a, v, r, s, f, m, u, d } = JSON.parse(text) as Packed;
  const authors = a.map(
    ([origin, seq, hlc, actor, wrong, position]): Author => ({ origin, seq, hlc, actor, clockWrong: wrong === 1, position }),
  );
  const registers: Record<string, Register> = {};
  for (const name in r) {
    const [context, ...siblings] = r[name]!;
    registers[name] = {
      context: v[context]!,
      siblings: siblings.map(
        ([by, value, read, basis, lacks]): Sibling => ({
          by: authors[by]!,
          value,
          ...(read === undefined || read === 0 ? {} : { read }),
          ...(basis === undefined || basis === null ? {} : { basis: v[basis]! }),
          ...(lacks === undefined ? {} : { ...(lacks === 2 ? {} : WITHHELD_VALUE), ...(lacks === 1 ? {} : UNREAD) }),
        }),
      ),
    };
  }
  const state = { registers, merged: m ?? {}, seen: v[s]!, referred: v[f]!, dots: d ?? null };
  return u === undefined ? state : { ...state, unseen: u };
}
const WITHHELD_VALUE = { withheld: true } as const;
const UNREAD = { unread: true } as const;
