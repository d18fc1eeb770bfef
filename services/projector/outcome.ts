/** What became of work that is awaited later: its result, or what it threw. */
export type Outcome<T> = { readonly value: T } | { readonly error: unknown };

export const outcomeOf = <T>(work: Promise<T>): Promise<Outcome<T>> =>
  work.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
