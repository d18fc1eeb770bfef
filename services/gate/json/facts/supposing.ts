/**
 * Remembers what was found out while something was supposed. A schema that leads back to itself is compared with another by supposing, further in, that
 * the pair fits, which is right if nothing else fails: data is finite. What was found with such a supposition holds only as long as it does:
 *
 *   found ── nothing supposed was used, or it holds whatever is supposed ──▶ final
 *     └── else provisional, by the outermost supposition used ── that one fits, using none further out ──▶ final
 *                                                                     ├── fits, using one further out ──▶ provisional by that one
 *                                                                     └── fails ──▶ forgotten
 */
export interface Supposer {
  /** Computes once. `holdsAnyway`: whether the answer would be the same if nothing had been supposed. */
  remember<T>(key: string, compute: () => T, holdsAnyway: (found: T) => boolean): T;
  /** The same; and the key's answer is `supposed` meanwhile. */
  suppose<T>(key: string, supposed: T, compute: () => T, holdsAnyway: (found: T) => boolean): T;
}

interface Provisional {
  readonly value: unknown;
  level: number;
}

// Long because remembering and supposing are one state machine (drawn above) over five variables that nothing else may touch.
export function supposer(): Supposer {
  const final = new Map<string, unknown>();
  const provisional = new Map<string, Provisional>();
  const byLevel = new Map<number, Set<string>>();
  const open = new Map<string, { readonly level: number; readonly supposed: unknown }>();
  /** The outermost supposition used since somebody last asked. */
  let lowest = Infinity;

  const keep = (key: string, value: unknown, level: number): void => {
    if (level === Infinity) {
      final.set(key, value);
      provisional.delete(key);
      return;
    }
    provisional.set(key, { value, level });
    byLevel.set(level, (byLevel.get(level) ?? new Set()).add(key));
  };
  const known = (key: string): { readonly value: unknown } | undefined => {
    if (final.has(key)) return { value: final.get(key) };
    const found = provisional.get(key);
    if (found !== undefined) lowest = Math.min(lowest, found.level);
    return found;
  };
  const watched = <T>(compute: () => T): { readonly value: T; readonly used: number; readonly outer: number } => {
    const outer = lowest;
    lowest = Infinity;
    try {
      const value = compute();
      return { value, used: lowest, outer };
    } finally {
      lowest = Math.min(outer, lowest);
    }
  };

  return {
    remember<T>(key: string, compute: () => T, holdsAnyway: (found: T) => boolean): T {
      const before = known(key);
      // What is kept under a key is what `compute` gave for it: each key has one kind of answer.
      if (before !== undefined) return before.value as T;
      const { value, used, outer } = watched(compute);
      const isFinal = holdsAnyway(value);
      if (isFinal) lowest = outer;
      keep(key, value, isFinal ? Infinity : used);
      return value;
    },
    suppose<T>(key: string, supposed: T, compute: () => T, holdsAnyway: (found: T) => boolean): T {
      const before = known(key);
      if (before !== undefined) return before.value as T;
      const mine = open.get(key);
      if (mine !== undefined) {
        lowest = Math.min(lowest, mine.level);
        return mine.supposed as T;
      }
      const level = open.size;
      open.set(key, { level, supposed });
      const { value, used, outer } = watched(compute);
      open.delete(key);
      const isFinal = holdsAnyway(value);
      const on = isFinal || used >= level ? Infinity : used;
      lowest = Math.min(outer, on);
      for (const other of byLevel.get(level) ?? []) {
        const found = provisional.get(other);
        if (found?.level !== level) continue;
        // It failed: what was found by supposing otherwise is not known.
        if (isFinal) provisional.delete(other);
        else keep(other, found.value, on);
      }
      byLevel.delete(level);
      keep(key, value, on);
      return value;
    },
  };
}
