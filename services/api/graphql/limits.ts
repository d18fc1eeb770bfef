/** How much one question may ask for. In come a document and its variables; out comes the first bound that it breaks, with the setting's name. Nothing is read before. */
import {
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLObjectType,
  type GraphQLSchema,
  getNamedType,
  isObjectType,
  Kind,
  type OperationDefinitionNode,
  type ParseOptions,
  parse,
  type SelectionSetNode,
  visit,
} from "graphql";
import { messageOf, TributaryError } from "../../core/index.ts";
import type { Principal } from "../../http/index.ts";

/** The bounds of a question. Each is a setting of its name. */
export interface GraphqlLimits {
  /** Fields within fields. */
  readonly maxDepth: number;
  /** Fields, each as often as the page that it is in has rows. */
  readonly maxCost: number;
  /** Fields under another name. */
  readonly maxAliases: number;
  /** Words, names and marks in a document. */
  readonly maxTokens: number;
  /** Bytes of a request's body. */
  readonly maxBodyBytes: number;
  /** Rows of a page. */
  readonly maxPageRows: number;
  /** Rows of a page where a question does not say how many. */
  readonly pageRows: number;
}

export const GRAPHQL_LIMITS: GraphqlLimits = {
  maxDepth: 12,
  maxCost: 50_000,
  maxAliases: 30,
  maxTokens: 2_000,
  maxBodyBytes: 1_048_576,
  maxPageRows: 1_000,
  pageRows: 50,
};

/** What somebody is told who asks for too much. */
export const tooMuch = (what: string, is: number | null, limits: GraphqlLimits, name: keyof GraphqlLimits): TributaryError =>
  new TributaryError(
    "input-malformed",
    `${what}${is === null ? "" : `: ${is}`}, and ${limits[name]} is the most (the setting ${name})`,
    "Ask in several questions, or for less at a time.",
  );

/** How many rows a page may have that somebody asks for. Throws `input-malformed`. */
export function pageRows(first: number | null | undefined, limits: GraphqlLimits): number {
  const rows = first ?? Math.min(limits.pageRows, limits.maxPageRows);
  if (rows < 1) throw new TributaryError("input-malformed", `first is ${rows}`, "Ask for 1 row or more.");
  if (rows > limits.maxPageRows) throw tooMuch("the page is too long", rows, limits, "maxPageRows");
  return rows;
}

/**
 * Whether somebody may ask a question of their own, and not only those that the hub has on its list. At present whoever has a token may: a hub keeps no such list yet. This is the one place
 * that says so; the right for it is `queries:free`.
 */
const mayAskFreely = (_principal: Principal): boolean => true;

/** Throws `not-permitted` for a question that somebody may not ask. */
export function mustAskFreely(principal: Principal): void {
  if (!mayAskFreely(principal))
    throw new TributaryError("not-permitted", "this question is not on the hub's list", "Ask one that is.");
}

/** How the parser says that a document has too many tokens. */
const TOO_LONG = /contains more than \d+ tokens/;

/** Reads a document. Throws `input-malformed` for one that is too long, and what the parser throws. */
export function parseWithin(
  source: Parameters<typeof parse>[0],
  limits: GraphqlLimits,
  options: ParseOptions = {},
): DocumentNode {
  try {
    return parse(source, { ...options, maxTokens: limits.maxTokens });
  } catch (error) {
    throw TOO_LONG.test(messageOf(error)) ? tooMuch("the question is too long", null, limits, "maxTokens") : error;
  }
}

interface Measured {
  readonly depth: number;
  readonly cost: number;
}
const NOTHING: Measured = { depth: 0, cost: 0 };
/** Two fields beside each other. */
const beside = (a: Measured, b: Measured): Measured => ({ depth: Math.max(a.depth, b.depth), cost: a.cost + b.cost });

/** Throws `input-malformed` where an operation asks for more than the limits allow. Fields of introspection have a bound of GraphQL's own. */
export function refuseTooMuch(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  asked: { readonly variables: Readonly<Record<string, unknown>>; readonly limits: GraphqlLimits },
): void {
  const { limits, variables } = asked;
  let aliases = 0;
  visit(document, {
    Field({ alias }) {
      if (alias !== undefined) aliases++;
    },
  });
  if (aliases > limits.maxAliases) throw tooMuch("too many fields stand under another name", aliases, limits, "maxAliases");
  const root = schema.getRootType(operation.operation);
  if (root === undefined || root === null) return;
  const fragments = new Map(
    document.definitions.flatMap((each) => (each.kind === Kind.FRAGMENT_DEFINITION ? [[each.name.value, each]] : [])),
  );
  const { depth, cost } = measure(operation.selectionSet, root, { schema, fragments, variables, limits, known: new Map() });
  if (depth > limits.maxDepth) throw tooMuch("the question is too deep", depth, limits, "maxDepth");
  if (cost > limits.maxCost) throw tooMuch("the question costs too much (fields times rows)", cost, limits, "maxCost");
}

interface Measuring {
  readonly schema: GraphQLSchema;
  readonly fragments: ReadonlyMap<string, FragmentDefinitionNode>;
  readonly variables: Readonly<Record<string, unknown>>;
  readonly limits: GraphqlLimits;
  /** Each fragment is measured once, however often it is used. */
  readonly known: Map<string, Measured>;
}

function measure(set: SelectionSetNode, type: GraphQLObjectType, of: Measuring): Measured {
  let sum = NOTHING;
  for (const selection of set.selections) {
    if (selection.kind === Kind.FIELD) sum = beside(sum, measureField(selection, type, of));
    else if (selection.kind === Kind.INLINE_FRAGMENT)
      sum = beside(sum, measure(selection.selectionSet, typeOn(selection, type, of), of));
    else {
      const name = selection.name.value;
      const fragment = of.fragments.get(name);
      if (fragment === undefined) continue;
      const known = of.known.get(name);
      // A fragment within itself is refused before; while it is measured it counts as nothing.
      if (known === undefined) of.known.set(name, NOTHING);
      const measured = known ?? measure(fragment.selectionSet, typeOn(fragment, type, of), of);
      of.known.set(name, measured);
      sum = beside(sum, measured);
    }
  }
  return sum;
}

function typeOn(
  {
    typeCondition,
  }: Pick<FragmentDefinitionNode, never> & { readonly typeCondition?: FragmentDefinitionNode["typeCondition"] | undefined },
  type: GraphQLObjectType,
  { schema }: Measuring,
): GraphQLObjectType {
  const named = typeCondition === undefined ? type : schema.getType(typeCondition.name.value);
  return isObjectType(named) ? named : type;
}

function measureField(node: FieldNode, type: GraphQLObjectType, of: Measuring): Measured {
  const field = type.getFields()[node.name.value];
  if (field === undefined) return NOTHING;
  const within = getNamedType(field.type);
  const inner = node.selectionSet === undefined || !isObjectType(within) ? NOTHING : measure(node.selectionSet, within, of);
  const rows = field.args.some(({ name }) => name === "first") ? rowsAsked(node, of) : 1;
  return { depth: 1 + inner.depth, cost: 1 + rows * inner.cost };
}

function rowsAsked(node: FieldNode, { variables, limits }: Measuring): number {
  const value = node.arguments?.find(({ name }) => name.value === "first")?.value;
  const first =
    value?.kind === Kind.INT ? Number(value.value) : value?.kind === Kind.VARIABLE ? variables[value.name.value] : null;
  return typeof first === "number" && first > 0 ? first : limits.pageRows;
}
