/** Rows of one view. In come conditions by column; out come pages of rows with the columns that were asked for. */
import { HubError, misused } from "./error.ts";
import type { JsonValue } from "./json.ts";
import type { Followed, FollowOptions, RowsTold } from "./live.ts";
import type { Ask, Asking } from "./request.ts";
import type { ColumnName, HubTypes, RowOf, ViewName, Where } from "./types.ts";

/** A moment: a position in the log (`through` of a page), or a time by the hub's clock, ISO 8601 with its zone. */
export type Moment = { readonly position: string } | { readonly time: string };

export interface RowsQuestion<T extends HubTypes, V extends ViewName<T>, S extends ColumnName<T, V>> extends Asking {
  /** Which columns; default: all. */
  readonly select?: readonly S[] | undefined;
  readonly where?: Where<T, V> | undefined;
  /** By which column; default: by id. Rows without a value come last. */
  readonly sort?: ColumnName<T, V> | undefined;
  readonly descending?: boolean | undefined;
  /** How many rows a page has at most; default: what the hub gives. */
  readonly first?: number | undefined;
  /** Where the page before ended (its `next`). */
  readonly after?: string | undefined;
  /** As the hub knew the rows then; default: as they are now. */
  readonly asOf?: Moment | undefined;
  /** Whether all rows are counted that the conditions hold for. */
  readonly count?: boolean | undefined;
}

export interface LiveQuestion<T extends HubTypes, V extends ViewName<T>, S extends ColumnName<T, V>> extends FollowOptions {
  /** Which columns; default: all. */
  readonly select?: readonly S[] | undefined;
  readonly where?: Where<T, V> | undefined;
}

export interface RowQuestion<S extends string> extends Asking {
  readonly select?: readonly S[] | undefined;
  readonly asOf?: Moment | undefined;
}

export interface Page<R> {
  readonly rows: readonly R[];
  /** For the next page, as `after`; `null`: there are no more rows. */
  readonly next: string | null;
  /** How many rows there are in all; `null`: that was not asked. */
  readonly total: number | null;
  /** The position up to which the page is complete; `null`: nothing has been folded yet. */
  readonly through: string | null;
}

export interface HubView<T extends HubTypes, V extends ViewName<T>> {
  /** One page. Throws `HubError`. */
  rows<S extends ColumnName<T, V> = ColumnName<T, V>>(question?: RowsQuestion<T, V, S>): Promise<Page<Pick<RowOf<T, V>, S>>>;
  /** One row by its id; `null`: there is none that is shown to whoever asks. Throws `HubError`. */
  row<S extends ColumnName<T, V> = ColumnName<T, V>>(id: string, question?: RowQuestion<S>): Promise<Pick<RowOf<T, V>, S> | null>;
  /**
   * All pages, each read when it is asked for. What changes meanwhile may be missed or be there twice; `asOf: { position }` reads all pages of one moment.
   *
   *   for await (const { rows } of hub.view("beneficiaries").all({ first: 500 })) show(rows);
   */
  all<S extends ColumnName<T, V> = ColumnName<T, V>>(question?: RowsQuestion<T, V, S>): AsyncIterable<Page<Pick<RowOf<T, V>, S>>>;
  /**
   * What changes in the view, as it comes. A link that is lost is made again, and nothing is missed or told twice. Read the view after `standing` has come, and again after `reset`.
   *
   *   for await (const told of hub.view("beneficiaries").live({ select: ["id", "village"] })) if (told.kind === "rows") show(told.rows);
   */
  live<S extends ColumnName<T, V> = ColumnName<T, V>>(
    question?: LiveQuestion<T, V, S>,
  ): AsyncIterable<RowsTold<Pick<RowOf<T, V>, S>>>;
}

/** Follows something by a document. */
export type FollowRows = <W extends { readonly resume: string }>(followed: Followed, options: FollowOptions) => AsyncIterable<W>;

/** What the hub declares of a view; `null`: its rows come as JSON. */
type Declared = readonly string[] | null;

const NAME = /^[_A-Za-z][_0-9A-Za-z]*$/;
/** A name as it stands in a document. What is not a name would be read as something else. */
function named(name: string, what: string): string {
  if (NAME.test(name)) return name;
  throw misused(`${JSON.stringify(name)} is not the name of a ${what}`, "Give it as the project declares it.");
}

/** What the names of a view's types begin with: of `stock_ledger` it is `StockLedger`. */
const typeNameOf = (view: string): string =>
  view.replace(/^[a-z]/, (letter) => letter.toUpperCase()).replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

const DECLARED =
  "query columns($row: String!, $page: String!) { row: __type(name: $row) { fields { name } } page: __type(name: $page) { name } }";
interface Described {
  readonly row: { readonly fields: readonly { readonly name: string }[] } | null;
  readonly page: object | null;
}

/** Conditions on a view whose columns the hub's database alone knows: one by one, with the column's name. */
const listed = (where: object): readonly object[] =>
  Object.entries(where).flatMap(([column, condition]: [string, object | undefined]) =>
    Object.entries(condition ?? {}).flatMap(([name, value]: [string, JsonValue | undefined]) =>
      value === undefined ? [] : [{ column, [name]: value }],
    ),
  );

/** Which columns a view has, asked for once, when a question does not say which it wants. */
interface Columns {
  for(select: readonly string[] | undefined): Promise<Declared>;
  /** Waits for an answer. A view may be declared otherwise by and by: what the hub refuses is looked up again by the next question. */
  during<R>(answer: Promise<R>): Promise<R>;
}

function columnsOf(ask: Ask, view: string, type: string): Columns {
  let declared: Promise<Declared> | null = null;
  const look = async (): Promise<Declared> => {
    // Taken on trust from here: the hub answers what its schema says of the document.
    const { row, page } = (await ask(DECLARED, { row: `${type}Row`, page: `${type}Page` }, { isWrite: false })) as Described;
    if (page === null)
      throw new HubError(
        "not-found",
        `the hub has no view ${view}`,
        "Check the spelling. `GET /v1/views` names all that there are.",
        {
          status: 200,
        },
      );
    return row?.fields.map((field) => field.name) ?? null;
  };
  const during = async <R>(answer: Promise<R>): Promise<R> => {
    try {
      return await answer;
    } catch (error) {
      declared = null;
      throw error;
    }
  };
  return {
    during,
    async for(select) {
      if (select !== undefined) return select;
      // Whichever questions wait for it wait for the same answer: none of them ends the waiting of the others.
      declared ??= look();
      return during(declared);
    },
  };
}

/** Makes views by their names, which share what the hub has told of their columns. Throws `usage` for what is not a name. */
export function viewsOf<T extends HubTypes>(ask: Ask, follow: FollowRows): <V extends ViewName<T>>(name: V) => HubView<T, V> {
  const known = new Map<string, Columns>();
  return (name) => {
    const view = named(name, "view");
    const columns = known.get(view) ?? columnsOf(ask, view, typeNameOf(view));
    known.set(view, columns);
    return viewOf({ ask, follow }, name, columns);
  };
}

function viewOf<T extends HubTypes, V extends ViewName<T>>(
  { ask, follow }: { readonly ask: Ask; readonly follow: FollowRows },
  view: V,
  columns: Columns,
): HubView<T, V> {
  const type = typeNameOf(view);
  const rows = async <S extends ColumnName<T, V>>(question: RowsQuestion<T, V, S> = {}): Promise<Page<Pick<RowOf<T, V>, S>>> => {
    const shown = await columns.for(question.select);
    const { where } = question;
    const { sort, descending, first, after, asOf, count } = question;
    const given = {
      where: where !== undefined && shown === null ? listed(where) : where,
      sort,
      descending,
      first,
      after,
      asOf,
      count,
    };
    const kinds =
      shown === null ? { where: "[ColumnCondition!]", sort: "String" } : { where: `${type}Where`, sort: `${type}Sort` };
    const parts = argumentsOf(given, { ...SAME, ...kinds });
    const document = `query rows${parts.declared} { views { page: ${view}${parts.handed} { rows${fieldsOf(shown)} next total through } } }`;
    const answer = await columns.during(ask(document, parts.variables, { isWrite: false, signal: question.signal }));
    return (answer as { readonly views: { readonly page: Page<Pick<RowOf<T, V>, S>> } }).views.page;
  };
  return {
    rows,
    async row<S extends ColumnName<T, V>>(id: string, question: RowQuestion<S> = {}): Promise<Pick<RowOf<T, V>, S> | null> {
      const shown = await columns.for(question.select);
      if (shown === null)
        throw misused(`${view} has rows that the database joins, without ids of their own`, "Ask for rows, with conditions.");
      const parts = argumentsOf({ id, asOf: question.asOf }, { id: "String!", asOf: "Moment" });
      const document = `query row${parts.declared} { rows { row: ${view}${parts.handed}${fieldsOf(shown)} } }`;
      const answer = await columns.during(ask(document, parts.variables, { isWrite: false, signal: question.signal }));
      return (answer as { readonly rows: { readonly row: Pick<RowOf<T, V>, S> | null } }).rows.row;
    },
    async *live<S extends ColumnName<T, V>>({ select, where, ...options }: LiveQuestion<T, V, S> = {}) {
      const shown = await columns.for(select);
      const given = { where: where !== undefined && shown === null ? listed(where) : where };
      const parts = argumentsOf(given, { where: shown === null ? "[ColumnCondition!]" : `${type}Where` });
      const variables = `($from: String${parts.declared === "" ? "" : `, ${parts.declared.slice(1, -1)}`})`;
      const handed = `(from: $from${parts.handed === "" ? "" : `, ${parts.handed.slice(1, -1)}`})`;
      const document = `subscription live${variables} { told: ${view}${handed} { kind resume rows${fieldsOf(shown)} gone } }`;
      yield* follow<RowsTold<Pick<RowOf<T, V>, S>>>({ document, variables: parts.variables }, options);
    },
    async *all(question = {}) {
      let { after } = question;
      do {
        const page = await rows({ ...question, after });
        yield page;
        after = page.next ?? undefined;
      } while (after !== undefined);
    },
  };
}

const SAME = { descending: "Boolean", first: "Int", after: "String", asOf: "Moment", count: "Boolean" };

const fieldsOf = (columns: Declared): string =>
  columns === null ? "" : ` { ${columns.map((column) => named(column, "column")).join(" ")} }`;

interface Parts {
  readonly declared: string;
  readonly handed: string;
  readonly variables: Readonly<Record<string, unknown>>;
}
/** What is given of a field's arguments, as variables of their types. */
function argumentsOf<N extends string>(given: Readonly<Record<N, unknown>>, types: Readonly<Record<N, string>>): Parts {
  const all = Object.entries(given).flatMap(([name, value]): { name: N; value: unknown }[] =>
    value === undefined ? [] : [{ name: name as N, value }],
  );
  if (all.length === 0) return { declared: "", handed: "", variables: {} };
  return {
    declared: `(${all.map(({ name }) => `$${name}: ${types[name]}`).join(", ")})`,
    handed: `(${all.map(({ name }) => `${name}: $${name}`).join(", ")})`,
    variables: Object.fromEntries(all.map(({ name, value }) => [name, value])),
  };
}
