/**
 * The part of the schema that is a team's own: for each view its rows, what may be asked of them, and pages. It is made of the declarations, never of PostgreSQL, whose views carry no keys, and so
 * it is the same on every hub that has these declarations.
 */
import type { Column, Projection, Totals, View } from "../../merge/engine.ts";
import { declaredColumns } from "../../views/index.ts";
import type { Descriptions } from "./descriptions.ts";

/** GraphQL's type for a column. Numbers are as JSON has them. */
export const SCALAR_OF: Readonly<Record<Column["type"], string>> = {
  text: "String",
  integer: "Integer",
  number: "Float",
  decimal: "Decimal",
  boolean: "Boolean",
  date: "Date",
  instant: "Instant",
  json: "JSON",
};

/** What may be asked of a column, by its type. */
export const conditionTypes = (): string =>
  Object.entries(SCALAR_OF)
    .map(([type, scalar]) => conditionType(type, scalar))
    .join("\n");

const CONDITION_OF: Readonly<Record<Column["type"], string>> = {
  text: "TextCondition",
  integer: "IntegerCondition",
  number: "NumberCondition",
  decimal: "DecimalCondition",
  boolean: "BooleanCondition",
  date: "DateCondition",
  instant: "InstantCondition",
  json: "JSONCondition",
};
const isColumnType = (type: string): type is Column["type"] => Object.hasOwn(SCALAR_OF, type);

function conditionType(type: string, scalar: string): string {
  if (!isColumnType(type)) return "";
  const equal = [`"Equals."\n  eq: ${scalar}`, `"Does not equal; true of a row without a value."\n  ne: ${scalar}`];
  const several = [`"Equals one of these."\n  in: [${scalar}!]`];
  const ordered = ["lt", "le", "gt", "ge"].map((name) => `${name}: ${scalar}`);
  const contains = [`"Contains the text; small and capital letters A to Z count as the same."\n  contains: String`];
  const members = [
    ...equal,
    ...several,
    ...(type === "boolean" || type === "json" ? [] : ordered),
    ...(type === "text" || type === "json" ? contains : []),
    `"Whether there is no value."\n  isNull: Boolean`,
  ];
  return `"What a ${type} column must be. All members that are given must hold."\ninput ${CONDITION_OF[type]} {\n  ${members.join("\n  ")}\n}`;
}

/** A view's name as the beginning of its types' names: `stock_ledger` is `StockLedger`. Two views never have the same one. */
export const typeNameOf = (view: string): string =>
  view.replace(/^[a-z]/, (letter) => letter.toUpperCase()).replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** A column as the schema shows it. */
export interface ShownColumn {
  readonly name: string;
  readonly type: Column["type"];
  readonly words: string | null;
  /** Whether each row has a value. */
  readonly always?: true;
}

/** The columns that a view has beside those that it declares. */
const ENTITY_COLUMNS: readonly ShownColumn[] = [
  { name: "deleted", type: "boolean", words: "Whether the entity is deleted." },
  { name: "conflicts", type: "integer", words: "How many of its registers are contested. Not known of the past." },
  { name: "waiting_for", type: "json", words: "Events that have not arrived yet. Not known of the past." },
];
const ID: ShownColumn = { name: "id", type: "text", words: "The entity's id.", always: true };

/** The columns of a view as its declaration names them; `null`: only the database knows them. */
export function shownColumns(view: View, descriptions: Descriptions): readonly ShownColumn[] | null {
  if (view.kind === "sql") return null;
  if (view.kind === "totals")
    return [
      { ...ID, words: "What stands for the keys' values." },
      ...Object.entries({ ...view.keys, ...view.sums }).map(([name, { type }]) => ({ name, type, words: null })),
      { name: "rows", type: "integer", words: "How many rows were added up." },
    ];
  const said = descriptions.get(view.entity)?.members;
  return [
    ID,
    ...declaredColumns(view).map(([name, { type }]) => ({ name, type, words: said?.get(name) ?? null })),
    ...ENTITY_COLUMNS,
  ];
}

const quotedWords = (text: string): string => `"""\n${text.replaceAll('"""', '\\"""')}\n"""`;
const described = (words: string | null): string => (words === null ? "" : `${quotedWords(words)}\n  `);

/** PostgreSQL shows what several organisations' rows add up to, and views in its own language, to nobody who sees only some of the rows. */
export const isForAll = (view: View): view is Exclude<View, Projection> => view.kind !== "entity";

/** What GraphQL does not take as a value of an enum. */
const NO_VALUES = ["true", "false", "null"];

/** The types of the views, and the fields by which they are asked for: `views` for pages, `rows` for one row by its id. Empty where there are no views. */
export function viewTypes(views: readonly View[], descriptions: Descriptions): string {
  if (views.length === 0) return "";
  const pages = views.map(
    (view) => `${quotedWords(wordsOf(view, descriptions))}\n  ${view.name}(${argumentsOf(view)}): ${typeNameOf(view.name)}Page!`,
  );
  const single = views.filter(hasTypedRows);
  const rows = single.map(
    (view) =>
      `${quotedWords(`One row of ${view.name}; null: there is none.`)}\n  ${view.name}(id: String!${view.kind === "entity" ? ", asOf: Moment" : ""}): ${typeNameOf(view.name)}Row`,
  );
  return [
    ...views.map((view) => typesOf(view, descriptions)),
    `"Pages of rows, by view."\ntype Views {\n  ${pages.join("\n  ")}\n}`,
    `extend type Query {\n  "Pages of rows, by view."\n  views: Views!\n}`,
    ...(single.length === 0
      ? []
      : [
          `"One row by its id, by view."\ntype Rows {\n  ${rows.join("\n  ")}\n}`,
          `extend type Query {\n  "One row by its id, by view."\n  rows: Rows!\n}`,
        ]),
  ].join("\n");
}

const hasTypedRows = (view: View): view is Projection | Totals => view.kind !== "sql";

function wordsOf(view: View, descriptions: Descriptions): string {
  const restricted = isForAll(view) ? " Shown to whoever sees the rows of every organisation." : "";
  if (view.kind === "sql") return `Rows of ${[...view.needs].join(", ")}, as PostgreSQL joins them.${restricted}`;
  if (view.kind === "totals") return `Totals of ${[...view.sources].join(", ")}.${restricted}`;
  const title = descriptions.get(view.entity)?.title ?? null;
  return `A row for each ${view.entity}.${title === null ? "" : ` Its form: ${title}.`}`;
}

function argumentsOf(view: View): string {
  const name = typeNameOf(view.name);
  return [
    view.kind === "sql" ? "where: [ColumnCondition!]" : `where: ${name}Where`,
    `"By which column; default: by id. Rows without a value come last."\n sort: ${view.kind === "sql" ? "String" : `${name}Sort`}`,
    "descending: Boolean = false",
    `"How many rows at most."\n first: Int`,
    `"Where the page before ended (its \`next\`)."\n after: String`,
    ...(view.kind === "entity" ? [`"As the hub knew them then; default: as they are now."\n asOf: Moment`] : []),
    `"Whether all rows are counted that the conditions hold for."\n count: Boolean = false`,
  ].join("\n ");
}

function typesOf(view: View, descriptions: Descriptions): string {
  const name = typeNameOf(view.name);
  const columns = shownColumns(view, descriptions);
  const row = columns === null ? "JSON" : `${name}Row`;
  const page = `"A page of ${view.name}."\ntype ${name}Page {\n  rows: [${row}!]!\n  "For the next page; null: there are no more rows."\n  next: String\n  "How many rows there are in all; null: that was not asked."\n  total: Integer\n  "The position up to which the answer is complete."\n  through: Position\n}`;
  if (columns === null) return page;
  const fields = columns.map(
    ({ name: column, type, words, always }) => `${described(words)}${column}: ${SCALAR_OF[type]}${always ? "!" : ""}`,
  );
  const conditions = columns.map(({ name: column, type }) => `${column}: ${CONDITION_OF[type]}`);
  const sorted = columns
    .filter(({ name: column, type }) => type !== "json" && !NO_VALUES.includes(column))
    .map(({ name: column }) => column);
  return [
    page,
    `${quotedWords(`A row of ${view.name}.`)}\ntype ${name}Row {\n  ${fields.join("\n  ")}\n}`,
    `"Conditions on rows of ${view.name}; all must hold."\ninput ${name}Where {\n  ${conditions.join("\n  ")}\n}`,
    `"What rows of ${view.name} can be sorted by."\nenum ${name}Sort {\n  ${sorted.join("\n  ")}\n}`,
  ].join("\n");
}
