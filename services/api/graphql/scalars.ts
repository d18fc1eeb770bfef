import { GraphQLError, GraphQLScalarType, Kind, type ValueNode, valueFromASTUntyped } from "graphql";
import type { JsonValue } from "../../core/index.ts";
import { date, decimal, integer, timestamp } from "../../merge/index.ts";

/** A scalar that takes a value as it gives it. `fits`: whether it is one; `words`: what it is. */
function scalar(
  name: string,
  description: string,
  { fits, words }: { readonly fits: (value: JsonValue) => boolean; readonly words: string },
): GraphQLScalarType {
  const taken = (value: unknown): JsonValue => {
    // A variable's value comes out of JSON, a literal's out of a document.
    const json = value as JsonValue;
    if (json !== null && fits(json)) return json;
    throw new GraphQLError(`${JSON.stringify(value)} is not ${words}`);
  };
  return new GraphQLScalarType({
    ...{ name, description },
    coerceOutputValue: (value) => value,
    coerceInputValue: taken,
    coerceInputLiteral: (node) => taken(literal(node)),
  });
}

/** A literal as JSON. Numbers beyond those that JSON can hold exactly stay texts, and so do not fit. */
function literal(node: ValueNode): unknown {
  if (node.kind === Kind.INT && !Number.isSafeInteger(Number(node.value))) return node.value;
  return valueFromASTUntyped(node);
}

const POSITION = /^(?:[^:]*:)?\d{1,19}$/;
const [day, instant, whole, amount] = [date(), timestamp(), integer(), decimal()];

/** The scalars beside GraphQL's own. Numbers are as JSON has them. */
export const SCALARS: readonly GraphQLScalarType[] = [
  scalar("Date", "A calendar day, `YYYY-MM-DD` (ISO 8601).", { fits: day.fits, words: "a day like 2026-05-03" }),
  scalar("Instant", "An instant with its zone, ISO 8601; given in UTC, to the millisecond.", {
    fits: instant.fits,
    words: "a time like 2026-05-03T08:00:00Z",
  }),
  scalar("Integer", "A whole number up to 2^53, as a JSON number.", { fits: whole.fits, words: "a whole number" }),
  scalar("Decimal", "An amount, kept and added up exactly; as a JSON number.", {
    fits: amount.fits,
    words: "an amount",
  }),
  scalar("JSON", "Any JSON value.", { fits: () => true, words: "JSON" }),
  scalar(
    "Position",
    "A place in the log's order, as text. One that is asked for may name the log's incarnation: `INCARNATION:POSITION`.",
    {
      fits: (value) => typeof value === "string" && POSITION.test(value),
      words: "a position",
    },
  ),
];
