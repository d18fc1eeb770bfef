import { covers, type Hlc, type JsonObject, type JsonValue, join, type OriginId, type Seq, type Vector } from "../core/index.ts";

/** Who wrote a value, and when by the writer's own account: all that a resolver may look at besides the value. */
export interface Author {
  readonly origin: OriginId;
  readonly seq: Seq;
  readonly hlc: Hlc;
  readonly actor: string;
  /** The hub saw that this device's clock was wrong beyond the drift limit. */
  readonly clockWrong: boolean;
  /** Where the hub's log has the write: its commit position, exact below 2^53. `null`: not in the log yet, as far as this replica knows. */
  readonly position: number | null;
}

/** A value that no other known write of its register covers. */
export interface Sibling {
  readonly by: Author;
  /** `null` where it is withheld. */
  readonly value: JsonValue;
  /** This replica may not see the value. The write covers others, and is covered, like any other. */
  readonly withheld?: true;
  /** The members of the event's data that the register's rule looks at. */
  readonly read?: JsonObject;
  /** This replica may not see all of what the rule looks at. */
  readonly unread?: true;
  /** What its author had seen of the entity; kept where the register's rule counts it. */
  readonly basis?: Vector;
}

/**
 * The unit of conflict. `siblings` are the writes that no known write covers, in a fixed order; `context` is all that the
 * known writes cover, including the writes themselves. Both are functions of the *set* of writes: order and repetition do not matter.
 */
export interface Register {
  readonly siblings: readonly Sibling[];
  readonly context: Vector;
}

export interface Write extends Sibling {
  /** What the author had seen of the entity. The author's own earlier events always count as seen. */
  readonly basis: Vector;
  /** Whether the sibling keeps the basis. */
  readonly keepsBasis?: boolean;
}

/** Whether the author of `write` had seen the event of `by`. */
const knew = (write: Write, by: Author): boolean =>
  by.origin === write.by.origin ? by.seq < write.by.seq : covers(write.basis, by);

/** All that a write covers: its basis and itself. Whatever a basis claims, no author has seen their own later events. */
export const reachOf = ({ by, basis }: Pick<Write, "by" | "basis">): Vector => ({ ...basis, [by.origin]: by.seq });

export const bySiblingOrder = (a: Sibling, b: Sibling): number =>
  a.by.origin < b.by.origin ? -1 : a.by.origin > b.by.origin ? 1 : a.by.seq - b.by.seq;

/** All that a register's writes cover, with one more of this reach. */
export const contextAfter = (register: Register | undefined, reach: Vector): Vector =>
  register === undefined ? reach : join(register.context, reach);

/**
 * The register after one more write. Commutative, associative and idempotent, whatever the bases claim:
 * siblings = writes that no write covers; context = join of all dots and bases.
 */
export const applyWrite = (register: Register | undefined, write: Write): Register =>
  applyKnowing(register, write, contextAfter(register, reachOf(write)));

/** The same, for a caller that already has the context after the write: most events write several registers with one and the same context. */
export function applyKnowing(register: Register | undefined, write: Write, context: Vector): Register {
  if (register === undefined) return { siblings: [sibling(write)], context };
  const isNews = !covers(register.context, write.by);
  const kept = register.siblings.filter((old) => !knew(write, old.by));
  if (!isNews) {
    const at = kept.findIndex(({ by }) => by.origin === write.by.origin && by.seq === write.by.seq);
    const known = at === -1 ? null : withNotes(kept[at]!.by, write.by);
    if (known !== null && isOpened(kept[at]!, write))
      return { siblings: kept.with(at, { ...sibling(write), by: known }), context };
    if (known !== null && known !== kept[at]!.by) return { siblings: kept.with(at, { ...kept[at]!, by: known }), context };
    return kept.length === register.siblings.length && context === register.context ? register : { siblings: kept, context };
  }
  kept.push(sibling(write));
  if (kept.length > 1) kept.sort(bySiblingOrder);
  return { siblings: kept, context };
}

/**
 * An author, with what a repetition of the event adds. A device folds its own event before the hub has given it a position and checked the clock. What is
 * known of either never becomes unknown.
 */
function withNotes(by: Author, again: Author): Author {
  const clockWrong = by.clockWrong || again.clockWrong;
  const position =
    by.position === null || again.position === null ? (by.position ?? again.position) : Math.min(by.position, again.position);
  return clockWrong === by.clockWrong && position === by.position ? by : { ...by, clockWrong, position };
}

/** Whether a repetition of a write shows what was withheld. What is known never becomes unknown. */
const isOpened = (old: Sibling, again: Sibling): boolean =>
  (old.withheld === true && again.withheld !== true) ||
  (old.unread === true && again.unread !== true && again.withheld === old.withheld);

const sibling = ({ by, value, withheld, read, unread, basis, keepsBasis }: Write): Sibling =>
  read === undefined && !keepsBasis && withheld === undefined
    ? { by, value }
    : {
        ...{ by, value },
        ...(withheld === undefined ? {} : { withheld }),
        ...(read === undefined ? {} : { read }),
        ...(unread === undefined ? {} : { unread }),
        ...(keepsBasis ? { basis } : {}),
      };
