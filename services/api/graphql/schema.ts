/** The schema as it is served: its types, and for each field of a root the right that is asked for and the answer. In come a hub's declarations; out comes a schema that has no field without a right. */
import { buildSchema, type GraphQLObjectType, type GraphQLSchema, isObjectType } from "graphql";
import { mustMay } from "../../http/index.ts";
import type { View } from "../../merge/engine.ts";
import { appendDecisions } from "./answers-append.ts";
import { caseAnswers, caseDecisions } from "./answers-cases.ts";
import { historyAnswers } from "./answers-history.ts";
import { keepingAnswers, keepingDecisions } from "./answers-keeping.ts";
import { FOLLOWED, guardFollowed } from "./answers-live.ts";
import { placeAnswers, placeDecisions } from "./answers-places.ts";
import { schemaAnswers, schemaDecisions } from "./answers-schemas.ts";
import { viewAnswers } from "./answers-views.ts";
import type { Descriptions } from "./descriptions.ts";
import type { Answering, Answers, Asking } from "./hub.ts";
import { liveTypes } from "./live-types.ts";
import { rightOf } from "./rights.ts";
import { SCALARS } from "./scalars.ts";
import { ownTypes } from "./types.ts";
import { viewTypes } from "./view-types.ts";

const QUERIES: Answers = {
  ...historyAnswers,
  ...caseAnswers,
  ...keepingAnswers,
  ...schemaAnswers,
  ...placeAnswers,
  // What is read stands in the fields within.
  views: () => ({}),
  rows: () => ({}),
};
const MUTATIONS: Answers = {
  ...caseDecisions,
  ...keepingDecisions,
  ...schemaDecisions,
  ...placeDecisions,
  ...appendDecisions,
};

/** The types whose fields read or write; all others only show what these have answered. */
export const ROOTS = ["Query", "Mutation", "Views", "Rows"] as const;

/** The schema in GraphQL's own language. */
export const schemaText = (views: readonly View[], descriptions: Descriptions): string =>
  [...SCALARS.map(({ name }) => `scalar ${name}`), ownTypes(), viewTypes(views, descriptions), liveTypes(views)].join("\n");

/** Makes the schema of a hub's views. Throws where a field of a root has no right or no answer. */
export function makeSchema(views: readonly View[], descriptions: Descriptions): GraphQLSchema {
  const schema = buildSchema(schemaText(views, descriptions));
  for (const scalar of SCALARS) {
    const type = schema.getType(scalar.name);
    if (type !== undefined) Object.assign(type, scalarParts(scalar));
  }
  guardFollowed(schema, views);
  guard(schema, { Query: QUERIES, Mutation: MUTATIONS, ...viewAnswers(views) });
  return schema;
}

const scalarParts = ({ coerceInputLiteral, coerceInputValue, coerceOutputValue, description }: (typeof SCALARS)[number]) => ({
  ...{ coerceInputLiteral, coerceInputValue, coerceOutputValue, description },
});

/** Gives each field of the roots its answer, behind its right. Throws for a field that lacks one of the two, so that nothing is served that nobody thought about. */
export function guard(schema: GraphQLSchema, answers: Readonly<Record<(typeof ROOTS)[number], Answers>>): void {
  for (const root of ROOTS) {
    const type = schema.getType(root);
    if (!isObjectType(type)) continue;
    for (const field of Object.values(type.getFields())) {
      const right = rightOf(root, field.name);
      const answer = Object.hasOwn(answers[root], field.name) ? answers[root][field.name] : undefined;
      if (right === undefined) throw new Error(`invariant broken: ${root}.${field.name} has no line in the table of rights`);
      if (answer === undefined) throw new Error(`invariant broken: nothing answers ${root}.${field.name}`);
      field.resolve = (_source, args: object, asking: Asking) => {
        if (right !== null) mustMay(asking.principal, right);
        return call(answer, args, asking);
      };
    }
  }
  for (const type of Object.values(schema.getTypeMap()))
    if (isObjectType(type) && !isRoot(type) && !type.name.startsWith("__"))
      for (const { name, resolve } of Object.values(type.getFields()))
        if (resolve !== undefined) throw new Error(`invariant broken: ${type.name}.${name} reads something, and has no right`);
}

const isRoot = ({ name }: GraphQLObjectType): boolean => name === FOLLOWED || ROOTS.some((root) => root === name);

// The arguments are those that the field declares, as GraphQL has checked them: the one place where a type is taken on trust.
const call = (answer: Answering, args: object, asking: Asking): unknown => answer(args as never, asking);
