import { checkRow, type EntityState, type FoldEvent, type Folded, type FullRow, fold, rowWith } from "./fold.ts";
import type { Projection } from "./projection.ts";

/** What one event of an entity made of it. */
export interface Step {
  /** The state after the event; `null`: the event does not touch the view. */
  readonly folded: Folded | null;
  /** The row that is shown after it; `null` where none is. */
  readonly row: FullRow | null;
  /** Why the row cannot be shown after this event. */
  readonly misfit: unknown;
}

export interface Anew {
  /** The state, as far as the events could be folded. */
  readonly steps: readonly Step[];
  /** How many of the steps count: up to the last one whose row can be shown. */
  readonly shown: number;
  /** The event at which folding stopped, by its index among the events, and why; `null`: all events were folded. */
  readonly stop: { readonly at: number; readonly error: unknown } | null;
}

/**
 * Folds all events of an entity, in log order. What an event wrote need not fit: only the row that is shown in the end must, so that a later event can correct
 * an earlier one. `check` is called with every row that fits its columns; `read` returns an event, or throws if it cannot be read.
 *
 *   folding ── value or function does not fit ──▶ passed over ── a later row fits ──▶ folding
 *      └── the event itself cannot be folded ──▶ stopped             └── none does ──▶ stopped at the first that did not
 */
export function foldAnew(
  projection: Projection,
  id: string,
  reads: readonly (() => FoldEvent)[],
  check: (row: FullRow) => void = () => {},
): Anew {
  const steps: Step[] = [];
  let state: EntityState | undefined;
  let shown = 0;
  let since: { readonly at: number; readonly error: unknown } | null = null;
  for (const [at, read] of reads.entries()) {
    try {
      const folded = fold(projection, state, read(), { isLenient: true });
      if (folded === null) {
        steps.push({ folded: null, row: null, misfit: null });
        if (since === null) shown = at + 1;
        continue;
      }
      state = folded.state;
      steps.push({ folded, ...shownOf(projection, id, folded.state, check) });
    } catch (error) {
      return { steps, shown, stop: since ?? { at, error } };
    }
    const { misfit } = steps[at]!;
    if (misfit === null) [shown, since] = [at + 1, null];
    else since ??= { at, error: misfit };
  }
  return { steps, shown, stop: since };
}

function shownOf(
  projection: Projection,
  id: string,
  state: EntityState,
  check: (row: FullRow) => void,
): Pick<Step, "row" | "misfit"> {
  try {
    const row = rowWith(projection, id, state);
    checkRow(projection, row);
    check(row);
    return { row, misfit: null };
  } catch (error) {
    return { row: null, misfit: error ?? new Error("it threw nothing") };
  }
}
