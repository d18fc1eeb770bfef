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
 *   const field = openField<Tributary>({ … });
 */
`;

const rowType = (name: string, { columns, derived, entity, name: view }: Projection): string => {
  const all: Columns = {
    ...columns,
    ...Object.fromEntries(Object.entries(derived).map(([column, { column: of }]) => [column, of])),
  };
  const lines = Object.entries(all).map(
    ([column, { type }]) => `${comment(SAYS[type] ?? null, "  ")}  readonly ${memberName(column)}: ${TYPES[type]} | null;`,
  );
  return `${comment(`A row of ${view}: one ${entity}.`)}export type ${name} = {\n${lines.join("\n")}\n};\n`;
};

/** The views that a device has rows of. */
export const viewsOnDevices = (views: readonly View[]): Projection[] =>
  entityViews(views)
    .filter(({ hubOnly }) => !hubOnly)
    .sort((a, b) => (a.name < b.name ? -1 : 1));

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
  const groups = [
    HEAD,
    ANY_JSON,
    ...data.map(({ text }) => text),
    ...rows.map(({ view, name }) => rowType(name, view)),
    `${comment("Events by their types, each with the newest version of its form; and the views that a device has rows of.")}export interface ${root} {
  readonly events: {
${events.join("\n")}
  };
  readonly views: {
${rows.map(({ view, name }) => `    readonly ${memberName(view.name)}: ${name};`).join("\n")}
  };
}
`,
  ];
  return groups.join("\n");
}
