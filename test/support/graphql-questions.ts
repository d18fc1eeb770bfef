import {
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLInputType,
  type GraphQLOutputType,
  type GraphQLSchema,
  getNamedType,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  isObjectType,
} from "graphql";
import { ROOTS } from "../../services/api/graphql/schema.ts";

/** What a question points at. */
export interface Target {
  readonly entity: string;
  readonly case: string;
  readonly event: string;
  readonly site: string;
  readonly org: string;
}

/** A question that asks for one field of a root, with all that it has. */
export interface Question {
  /** As the table of rights names it. */
  readonly root: (typeof ROOTS)[number];
  readonly name: string;
  readonly writes: boolean;
  text(at: Target): string;
}

/** A question for each field that reads or writes: a field that is added gets one by itself. */
export function questionsOf(schema: GraphQLSchema): readonly Question[] {
  return ROOTS.flatMap((root) => {
    const type = schema.getType(root);
    if (!isObjectType(type)) return [];
    return Object.values(type.getFields())
      .filter(({ name }) => !(root === "Query" && (name === "views" || name === "rows")))
      .map((field) => ({
        root,
        name: field.name,
        writes: root === "Mutation",
        text: (at: Target): string => {
          const call = `${field.name}${argumentsOf(field, at)}${selectionOf(field.type)}`;
          if (root === "Mutation") return `mutation { ${call} }`;
          return root === "Query" ? `{ ${call} }` : `{ ${root.toLowerCase()} { ${call} } }`;
        },
      }));
  });
}

function argumentsOf({ args }: GraphQLField<unknown, unknown>, at: Target): string {
  const given = args
    .filter(({ name, type }) => isNonNullType(type) || ALSO.includes(name))
    .map((arg) => `${arg.name}: ${sampleOf(arg, at)}`);
  return given.length === 0 ? "" : `(${given.join(", ")})`;
}

/** Arguments that need not be given, and say whose it is or how much is told. */
const ALSO = ["org", "count", "value"];

function sampleOf({ name, type }: Pick<GraphQLArgument, "name" | "type">, at: Target): string {
  const text = JSON.stringify;
  const byName: Readonly<Record<string, string>> = {
    case: text(at.case),
    event: text(at.event),
    site: text(at.site),
    org: text(at.org),
    view: text("phones"),
    register: text("phone"),
    value: text("+254700000009"),
    note: text("a note"),
  };
  const plain = isNonNullType(type) ? type.ofType : type;
  if (isListType(plain))
    return `[${name === "events" && getNamedType(plain).name === "String" ? text(at.event) : sampleOf({ name, type: plain.ofType as GraphQLInputType }, at)}]`;
  const named = getNamedType(plain);
  if (named.name === "EntityInput") return `{type: "beneficiary", id: ${text(at.entity)}}`;
  // Rows are named by the entity's id, cases by their own.
  if (name === "id") return text(at.entity === "" ? at.case : at.entity);
  if (isEnumType(named)) return named.getValues()[0]?.name ?? "";
  if (isInputObjectType(named))
    return `{${Object.values(named.getFields())
      .filter((field) => isNonNullType(field.type))
      .map((field) => `${field.name}: ${sampleOf(field, at)}`)
      .join(", ")}}`;
  if (named.name === "JSON") return byName[name] ?? "{}";
  if (named.name === "Boolean") return "true";
  if (["Int", "Integer", "Float", "Decimal"].includes(named.name)) return "1";
  return byName[name] ?? text("x");
}

/** All that a type has. */
function selectionOf(type: GraphQLOutputType): string {
  const named = getNamedType(type);
  if (!isObjectType(named)) return "";
  return ` { ${Object.values(named.getFields())
    .map((field) => `${field.name}${selectionOf(field.type)}`)
    .join(" ")} }`;
}
