import { type JsonValue, positionToText, TributaryError } from "../../core/index.ts";
import type { View } from "../../merge/engine.ts";
import { type AsOf, type Db, type PageQuestion, positionAsked, type RowsPage, rowsPage, type Stated } from "../../views/index.ts";
import { cursorIn, cursorOf } from "./cursors.ts";
import type { Answers, ApiHub, Asking } from "./hub.ts";
import { GRAPHQL_LIMITS, pageRows } from "./limits.ts";
import { isForAll } from "./view-types.ts";

/** A moment, as the schema has checked it. */
export type Moment = { readonly position: string } | { readonly time: string };

/** The moment of which rows are asked for. Throws `usage` for a position of another incarnation of the log. */
export async function momentAsked(db: Db, moment: Moment | null | undefined): Promise<AsOf | undefined> {
  if (moment === null || moment === undefined) return undefined;
  return "position" in moment && moment.position != null
    ? { position: await positionAsked(db, moment.position) }
    : "time" in moment
      ? { time: new Date(moment.time).toISOString() }
      : undefined;
}

type Scalar = string | number | boolean;
/** Conditions on one column, by what is asked. */
type Condition = Readonly<Record<string, JsonValue | undefined>>;
export interface PageArgs {
  readonly where?: Readonly<Record<string, Condition | null>> | readonly (Condition & { readonly column: string })[] | null;
  readonly sort?: string | null;
  readonly descending?: boolean | null;
  readonly first?: number | null;
  readonly after?: string | null;
  readonly asOf?: Moment | null;
  readonly count?: boolean | null;
}
interface RowArgs {
  readonly id: string;
  readonly asOf?: Moment | null;
}

const OPERATORS = { eq: "=", ne: "!=", lt: "<", le: "<=", gt: ">", ge: ">=", contains: "~" } as const;
const isOperator = (name: string): name is keyof typeof OPERATORS => Object.hasOwn(OPERATORS, name);

/** A value that is compared. One of a JSON column is compared as JSON. */
const scalarOf = (value: JsonValue, isJson: boolean): Scalar =>
  isJson || typeof value === "object" ? JSON.stringify(value) : value;

function statedOf(column: string, condition: Condition, isJson: boolean): readonly Stated[] {
  return Object.entries(condition).flatMap(([name, value]): readonly Stated[] => {
    if (value === undefined || name === "column") return [];
    if (value === null)
      throw new TributaryError("input-malformed", `${column}: ${name} is null`, "Ask for rows without a value by isNull: true.");
    if (name === "isNull") return [{ column, isNull: value === true }];
    if (name === "in")
      return [{ column, in: (Array.isArray(value) ? value : [value]).map((each: JsonValue) => scalarOf(each, isJson)) }];
    return isOperator(name) ? [{ column, operator: OPERATORS[name], value: scalarOf(value, isJson && name !== "contains") }] : [];
  });
}

/** The columns of a view that hold JSON. */
function jsonColumns(view: View): ReadonlySet<string> {
  if (view.kind !== "entity") return new Set();
  const all = [
    ...Object.entries(view.columns),
    ...Object.entries(view.derived).map(([name, { column }]) => [name, column] as const),
  ];
  return new Set(["waiting_for", ...all.filter(([, { type }]) => type === "json").map(([name]) => name)]);
}

/** The conditions of a question, as the schema has checked them. */
export function conditionsOf(view: View, where: PageArgs["where"]): readonly Stated[] {
  if (where === null || where === undefined) return [];
  const json = jsonColumns(view);
  const each: readonly (readonly [string, Condition | null])[] = isList(where)
    ? where.map((condition) => [condition.column, condition])
    : Object.entries(where);
  return each.flatMap(([column, condition]) => (condition === null ? [] : statedOf(column, condition, json.has(column))));
}
const isList = <T>(value: Readonly<Record<string, unknown>> | readonly T[]): value is readonly T[] => Array.isArray(value);

/** PostgreSQL would refuse such a question; here it is told why. */
function mustBeShown(view: View, { principal }: Asking): void {
  if (!isForAll(view) || principal.viewer.orgs === null) return;
  throw new TributaryError(
    "not-permitted",
    `${view.name} ${view.kind === "totals" ? "adds up" : "joins"} rows of several organisations, and you are shown those of ${principal.viewer.orgs.join(", ") || "none"} only`,
    "People of the hub's own organisation in the role auditor or admin are shown it. Ask for the views that it reads.",
  );
}

const shown = ({ rows, total, through }: RowsPage) => ({
  rows: rows.map(({ values }) => values),
  total,
  through: through === null ? null : positionToText(through),
});

const pageOf = (view: View) => async (args: PageArgs, asking: Asking) => {
  mustBeShown(view, asking);
  const { principal, hub } = asking;
  const limits = { ...GRAPHQL_LIMITS, ...hub.limits };
  const order = `${view.name} ${args.sort ?? "id"} ${args.descending === true}`;
  const behind = args.after == null ? null : cursorIn(args.after, order, 2);
  const question: Omit<PageQuestion, "asOf"> = {
    view: view.name,
    stated: conditionsOf(view, args.where),
    limit: pageRows(args.first, limits),
    counts: args.count === true,
    ...(args.sort == null && args.descending !== true
      ? {}
      : { sort: `${args.sort ?? "id"}${args.descending === true ? ":desc" : ""}` }),
    ...(behind === null ? {} : { behind: { value: behind[0] ?? null, id: behind[1] ?? "" } }),
  };
  return hub.reading.read(principal.viewer, async (db) => {
    const asOf = await momentAsked(db, args.asOf);
    const page = await rowsPage(db, { ...question, ...(asOf === undefined ? {} : { asOf }) });
    return { ...shown(page), next: page.next === null ? null : cursorOf(order, [page.next.value, page.next.id]) };
  });
};

const rowOf =
  (view: View) =>
  async ({ id, asOf: moment }: RowArgs, asking: Asking) => {
    mustBeShown(view, asking);
    const { principal, hub } = asking;
    return hub.reading.read(principal.viewer, async (db) => {
      const asOf = await momentAsked(db, moment);
      const stated: readonly Stated[] = [{ column: "id", operator: "=", value: id }];
      const page = await rowsPage(db, { view: view.name, stated, limit: 1, ...(asOf === undefined ? {} : { asOf }) });
      return page.rows[0]?.values ?? null;
    });
  };

/** Pages of each view, and one row of each whose columns are declared. */
export const viewAnswers = (views: readonly View[]): { readonly Views: Answers; readonly Rows: Answers } => ({
  Views: Object.fromEntries(views.map((view) => [view.name, pageOf(view)])),
  Rows: Object.fromEntries(views.filter(({ kind }) => kind !== "sql").map((view) => [view.name, rowOf(view)])),
});

/** The live views. Throws `backend-failed` while they are not built. */
export function liveViews(hub: ApiHub): readonly View[] {
  const views = hub.views();
  if (views !== null) return views;
  throw new TributaryError(
    "backend-failed",
    "the views are not built as they are declared",
    "`tributary rebuild --all` builds them; then ask again.",
  );
}
