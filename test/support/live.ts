/** Somebody who keeps a copy of a view by following it: what is told is applied, and what was told twice or is not theirs is counted. */

import type { Live, RowsTold } from "../../services/api/index.ts";
import type { JsonValue, Viewer } from "../../services/core/index.ts";
import { rowsPage, type Stated } from "../../services/views/index.ts";

const MAX_ROWS = 10_000;
type Values = Readonly<Record<string, JsonValue>>;

export interface Copy {
  /** Rows by id, as they are known. */
  readonly rows: ReadonlyMap<string, string>;
  /** All that was told, in order. */
  readonly told: readonly RowsTold[];
  /** Ids of rows that were told again as they were known. */
  readonly twice: readonly string[];
  /** The last resume position. */
  resume(): string | undefined;
  /** Begins to follow from where it was, and reads the view first where it has nothing. */
  connect(): Promise<void>;
  disconnect(): Promise<void>;
  /** What ended it. */
  failure(): unknown;
}

const textOf = (values: Values): string => JSON.stringify(values);

/** The rows of a view as somebody sees them. */
export async function readView(live: Live, viewer: Viewer, view: string, where: readonly Stated[] = []) {
  const { found, resume } = await live.read(viewer, (db) => rowsPage(db, { view, stated: where, limit: MAX_ROWS }));
  return { resume, rows: new Map(found.rows.map(({ id, values }) => [id, textOf(values)])) };
}

export function copyOf(
  live: () => Live,
  { viewer, view, where = [] }: { readonly viewer: Viewer; readonly view: string; readonly where?: readonly Stated[] },
): Copy {
  let rows = new Map<string, string>();
  const [told, twice]: [RowsTold[], string[]] = [[], []];
  let resume: string | undefined;
  let stop = new AbortController();
  let following: Promise<void> = Promise.resolve();
  let failure: unknown = null;
  const read = async (): Promise<void> => {
    const found = await readView(live(), viewer, view, where);
    [rows, resume] = [found.rows, found.resume];
  };
  const take = async (each: RowsTold): Promise<void> => {
    told.push(each);
    if (each.kind === "reset") return read();
    resume = each.resume;
    if (each.kind !== "rows") return;
    for (const { id, values } of each.rows) {
      if (rows.get(id) === textOf(values)) twice.push(id);
      rows.set(id, textOf(values));
    }
    for (const id of each.gone) rows.delete(id);
  };
  return {
    ...{ told, twice },
    get rows() {
      return rows;
    },
    resume: () => resume,
    failure: () => failure,
    async connect() {
      if (resume === undefined) await read();
      stop = new AbortController();
      const stream = live().changes({
        view,
        where,
        viewer: async () => viewer,
        signal: stop.signal,
        ...(resume === undefined ? {} : { from: resume }),
      });
      const follow = async (): Promise<void> => {
        for await (const each of stream) await take(each);
      };
      following = follow().catch((error: unknown) => {
        failure = error;
      });
    },
    async disconnect() {
      stop.abort();
      await following;
    },
  };
}
