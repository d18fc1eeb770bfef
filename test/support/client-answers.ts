import {
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLInputField,
  type GraphQLSchema,
  type GraphQLType,
  getNamedType,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  isObjectType,
} from "graphql";

/** What the client offers by a call of its own. */
const ASKED = {
  Query: ["me", "history", "decisions", "explain", "cases", "case", "register", "quarantine", "quarantined"],
  Mutation: [
    ...["decideCase", "decideRegister", "assignCase", "acceptCase", "commentCase"],
    ...["releaseQuarantined", "rejectQuarantined", "append"],
  ],
} as const;

const MADE =
  "Made of the hub's own schema; when that has changed, `vitest run test/client/answers.unit.spec.ts -u` makes it again.";
const HEAD = `/** What a hub answers and takes. ${MADE} */
import type { JsonValue } from "./json.ts";
`;
const DOCUMENTS_HEAD = `/** How each call is asked, in GraphQL. ${MADE} */
import type { Calls } from "./answers.ts";
`;

const SCALARS: Readonly<Record<string, string>> = {
  ...{ String: "string", ID: "string", Date: "string", Instant: "string", Position: "string" },
  ...{ Int: "number", Integer: "number", Float: "number", Decimal: "number", Boolean: "boolean", JSON: "JsonValue" },
};

const listed = (type: string): string => (/[ |]/.test(type) ? `readonly (${type})[]` : `readonly ${type}[]`);
const required = (type: GraphQLType): string =>
  isListType(type) ? listed(typed(type.ofType)) : (SCALARS[getNamedType(type).name] ?? getNamedType(type).name);
/** A type of GraphQL in TypeScript. */
const typed = (type: GraphQLType): string =>
  isNonNullType(type) ? required(type.ofType) : required(type) === "JsonValue" ? "JsonValue" : `${required(type)} | null`;

const comment = (words: string | null | undefined, indent: string): string =>
  words == null ? "" : `${indent}/** ${words.replaceAll(/\s+/g, " ")} */\n`;

const shown = ({ name, type, description }: GraphQLField<unknown, unknown>): string =>
  `${comment(description, "  ")}  readonly ${name}: ${typed(type)};`;
/** What may be left out may also be given as undefined, under the strictest settings of the compiler. */
const taken = ({ name, type, description }: GraphQLArgument | GraphQLInputField): string =>
  `${comment(description, "  ")}  readonly ${name}${isNonNullType(type) ? "" : "?"}: ${typed(type)}${isNonNullType(type) ? "" : " | undefined"};`;

const capital = (name: string): string => `${name.slice(0, 1).toUpperCase()}${name.slice(1)}`;

/** All fields of a type, and of those within. */
function selection(type: GraphQLType): string {
  const named = getNamedType(type);
  if (!isObjectType(named)) return "";
  const fields = Object.values(named.getFields()).map((field) => `${field.name}${selection(field.type)}`);
  return ` { ${fields.join(" ")} }`;
}

function documentOf(kind: "Query" | "Mutation", { name, args, type }: GraphQLField<unknown, unknown>): string {
  const variables = args.map((each) => `$${each.name}: ${each.type}`).join(", ");
  const given = args.map((each) => `${each.name}: $${each.name}`).join(", ");
  const [declared, handed] = args.length === 0 ? ["", ""] : [`(${variables})`, `(${given})`];
  return `${kind.toLowerCase()} ${name}${declared} { ${name}${handed}${selection(type)} }`;
}

/** The texts of `services/client/answers.ts` and `services/client/documents.ts`. Throws for a call that the schema does not have. */
export function clientAnswers(schema: GraphQLSchema): { readonly answers: string; readonly documents: string } {
  const types = new Map<string, string>();
  const add = (type: GraphQLType): void => {
    const named = getNamedType(type);
    if (types.has(named.name)) return;
    const says = comment(named.description, "");
    if (isEnumType(named)) {
      const values = named.getValues().map(({ name }) => JSON.stringify(name));
      types.set(named.name, `${says}export type ${named.name} = ${values.join(" | ")};\n`);
    } else if (isObjectType(named) || isInputObjectType(named)) {
      types.set(named.name, "");
      const fields: readonly (GraphQLField<unknown, unknown> | GraphQLInputField)[] = Object.values(named.getFields());
      for (const field of fields) add(field.type);
      const members = isObjectType(named)
        ? Object.values(named.getFields()).map(shown)
        : Object.values(named.getFields()).map(taken);
      types.set(named.name, `${says}export interface ${named.name} {\n${members.join("\n")}\n}\n`);
    }
  };
  const calls: string[] = [];
  const documents: string[] = [];
  for (const kind of ["Query", "Mutation"] as const)
    for (const name of ASKED[kind]) {
      const root = schema.getType(kind);
      const field = isObjectType(root) ? root.getFields()[name] : undefined;
      if (field === undefined) throw new Error(`the schema has no ${kind}.${name}`);
      for (const { type } of [field, ...field.args]) add(type);
      const args = field.args.length === 0 ? "Readonly<Record<string, never>>" : `${capital(name)}Arguments`;
      if (field.args.length > 0) types.set(`${name}()`, `export interface ${args} {\n${field.args.map(taken).join("\n")}\n}\n`);
      calls.push(`${comment(field.description, "  ")}  readonly ${name}: readonly [${args}, ${typed(field.type)}];`);
      documents.push(`  ${name}: \`${documentOf(kind, field)}\`,`);
    }
  const all = `/** What each call is given, and what it answers. */\nexport interface Calls {\n${calls.join("\n")}\n}\n`;
  return {
    answers: [HEAD, ...types.values(), all].join("\n"),
    documents: `${DOCUMENTS_HEAD}\nexport const DOCUMENTS: Readonly<Record<keyof Calls, string>> = {\n${documents.join("\n")}\n};\n`,
  };
}
