import { canonicalize, type Position } from "../core/index.ts";
import { type Decision, decide, type EntityState, siblingsOf } from "../merge/engine.ts";
import type { DecisionRow, EndedDecision, ViewBuild } from "../views/index.ts";

/** The decisions that a page brings, and those that it ends. */
export interface DecisionNotes {
  readonly rows: DecisionRow[];
  readonly ended: EndedDecision[];
  /** Takes note of an event that has changed an entity's registers. Throws what the rules throw. */
  note(change: Change): void;
}

/** What an event did to an entity's registers. */
export interface Change {
  readonly entityId: string;
  readonly position: Position;
  readonly written: readonly string[];
  readonly before: EntityState | undefined;
  readonly after: EntityState;
}

/** Notes which registers become contested and where, and which events end that. */
export function decisionNotes({ projection, generation }: ViewBuild): DecisionNotes {
  const rows: DecisionRow[] = [];
  const ended: EndedDecision[] = [];
  const openHere = new Map<string, DecisionRow>();
  const counting = [...projection.registers.values()]
    .filter((rule) => rule.kind === "decided" && rule.resolver.needsHistory === true)
    .map(({ name }) => name);
  return {
    rows,
    ended,
    note({ entityId, position, written, before, after }) {
      if (before === undefined) return;
      for (const register of counting.length === 0 ? written : new Set([...written, ...counting])) {
        const rule = projection.registers.get(register)!;
        if (rule.kind === "merged") continue;
        // A rule that counts what authors had seen may decide otherwise after any event.
        const isSame = counting.includes(register)
          ? sameDecision(decide(rule, before), decide(rule, after))
          : sameSiblings(siblingsOf(rule, before), siblingsOf(rule, after));
        if (isSame) continue;
        const key = `${entityId}\n${register}`;
        if (decide(rule, before) !== null) {
          const here = openHere.get(key);
          if (here !== undefined) here.endedAt = position;
          else ended.push({ view: projection.name, generation, entityId, register, position });
          openHere.delete(key);
        }
        const decision = decide(rule, after);
        if (decision === null) continue;
        const row: DecisionRow = {
          ...{ view: projection.name, generation, entityType: projection.entity, entityId },
          ...{ position, decision, endedAt: null },
        };
        rows.push(row);
        openHere.set(key, row);
      }
    },
  };
}

const sameDecision = (a: Decision | null, b: Decision | null): boolean =>
  a === null || b === null
    ? a === b
    : canonicalize(a.value) === canonicalize(b.value) &&
      a.reason === b.reason &&
      sameSiblings([a.winner, ...a.losers], [b.winner, ...b.losers]);

type Siblings = ReturnType<typeof siblingsOf>;
const sameSiblings = (a: Siblings, b: Siblings): boolean =>
  a.length === b.length && a.every(({ by }, i) => by.origin === b[i]!.by.origin && by.seq === b[i]!.by.seq);
