/** The file that `tributary types` writes. Forms and views come in; TypeScript comes out, the same for the same forms and views. */
import { ANY_JSON, comment, createGate, dataTypes, memberName, namer, type SchemaStore, typeName } from "../gate/index.ts";
import { type Column, type Columns, entityViews, type Projection, type View } from "../merge/engine.ts";

const TYPES: Readonly<Record<Column["type"], string>> = {
  text: "string",
  integer: "number",
  number: "number",
  decimal: "number",
  boolean: "boolean",
  date: "string",
  instant: "string",
  json: "Json",
};
/** What a text holds that only looks like one. */
const SAYS: Partial<Record<Column["type"], string>> = {
  date: "A day, YYYY-MM-DD.",
  instant: "An instant in UTC, ISO 8601 with milliseconds.",
};

// Not written out below: the packages are made of what the files import, which is looked for in their text.
const FILE = JSON.stringify("./tributary.d.ts");

const HEAD = `/**
 * The types of this project's events and views, made by \`tributary types\`. Do not edit: make it again when forms or views have changed.
 *
 *   import type { Tributary } from ${FILE};
 *   const field = openField<Tributary>({ … }); // on a device
 *   const hub = client<Tributary>(url, { token }); // a program that asks a hub
 */
`;

/** The columns that events write, and those that are derived from them. */
const allColumns = ({ columns, derived }: Projection): Columns => ({
  ...columns,
  ...Object.fromEntries(Object.entries(derived).map(([column, { column: of }]) => [column, of])),
});

const rowType = (name: string, view: Projection): string => {
  const lines = Object.entries(allColumns(view)).map(
    ([column, { type }]) => `${comment(SAYS[type] ?? null, "  ")}  readonly ${memberName(column)}: ${TYPES[type]} | null;`,
  );
  return `${comment(`A row of ${view.name}: one ${view.entity}.`)}export type ${name} = {\n${lines.join("\n")}\n};\n`;
};

/** The views that a device has rows of. */
export const viewsOnDevices = (views: readonly View[]): Projection[] =>
  entityViews(views)
    .filter(({ hubOnly }) => !hubOnly)
    .sort((a, b) => (a.name < b.name ? -1 : 1));

/** The kinds of the columns that a hub shows of a view, as `services/api` has them in its schema (a test holds the two together); `null`: only the hub's database knows them. */
export function columnKinds(view: View): Readonly<Record<string, Column["type"]>> | null {
  if (view.kind === "sql") return null;
  const kindsOf = (columns: Columns): Record<string, Column["type"]> =>
    Object.fromEntries(Object.entries(columns).map(([name, { type }]) => [name, type]));
  if (view.kind === "totals") return { id: "text", ...kindsOf(view.keys), ...kindsOf(view.sums), rows: "integer" };
  return { id: "text", ...kindsOf(allColumns(view)), deleted: "boolean", conflicts: "integer", waiting_for: "json" };
}

function columnsType(view: View): string {
  const kinds = columnKinds(view);
  if (kinds === null) return `    readonly ${memberName(view.name)}: null;`;
  const members = Object.entries(kinds).map(([name, kind]) => `      readonly ${memberName(name)}: ${JSON.stringify(kind)};`);
  return `    readonly ${memberName(view.name)}: {\n${members.join("\n")}\n    };`;
}

/** The whole file. `own`: subjects that only the hub itself writes; they are left out. */
export function typesFile(forms: SchemaStore, views: readonly View[], own: readonly string[]): string {
  const take = namer();
  const root = take("Tributary");
  const subjects = forms.subjects().filter((subject) => !own.includes(subject));
  const schemas = subjects.flatMap((subject) => forms.versions(subject));
  const data = dataTypes(schemas, take);
  const nameOf = new Map(data.map(({ subject, version, name }) => [`${subject}@${version}`, name]));
  const gate = createGate(forms);
  const types = [...new Set(schemas.flatMap(({ annotations }) => annotations.events))].sort();
  const events = types.flatMap((type) => {
    const form = gate.subjectFor(type);
    const name = form === undefined ? undefined : nameOf.get(`${form.subject}@${form.version}`);
    const entity = form === undefined ? null : (forms.versions(form.subject)[form.version - 1]?.annotations.entity ?? null);
    return name === undefined
      ? []
      : [
          `    readonly ${memberName(type)}: { readonly entity: ${entity === null || entity === "*" ? "string" : JSON.stringify(entity)}; readonly data: ${name} };`,
        ];
  });
  const rows = viewsOnDevices(views).map((view) => ({ view, name: take(`${typeName(view.name)}Row`) }));
  const shown = [...views].sort((a, b) => (a.name < b.name ? -1 : 1));
  const groups = [
    HEAD,
    ANY_JSON,
    ...data.map(({ text }) => text),
    ...rows.map(({ view, name }) => rowType(name, view)),
    `${comment("Events by their types, each with the newest version of its form; the views that a device has rows of; and the kinds of all columns that a hub shows.")}export interface ${root} {
  readonly events: {
${events.join("\n")}
  };
  readonly views: {
${rows.map(({ view, name }) => `    readonly ${memberName(view.name)}: ${name};`).join("\n")}
  };
  readonly columns: {
${shown.map(columnsType).join("\n")}
  };
}
`,
  ];
  return groups.join("\n");
}
