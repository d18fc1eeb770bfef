import { GraphQLError } from "graphql";
import { isTributaryError, messageOf, TributaryError } from "../../core/index.ts";

/** What GraphQL itself says of a question that it cannot read. */
const UNREADABLE = "The question does not fit the schema. Ask for the schema (introspection), or see docs/api.md.";

/** What was thrown at first. A request that is refused before any field is asked (it is not JSON) is told as the library tells it. */
const innermost = (error: unknown): unknown =>
  error instanceof GraphQLError && error.originalError !== undefined && error.originalError !== null && !isOfRequest(error)
    ? innermost(error.originalError)
    : error;
const isOfRequest = ({ path, extensions }: GraphQLError): boolean => path === undefined && extensions.http !== undefined;

/**
 * An error as whoever asked is told it: our own with code and hint, GraphQL's own about the question, and of all else only that the hub failed. `say` is told what that was.
 */
export function toldError(error: unknown, say: (event: Record<string, unknown>) => void): GraphQLError {
  const cause = innermost(error);
  const at = error instanceof GraphQLError ? error : null;
  const where = { ...(at?.nodes === undefined ? {} : { nodes: at.nodes }), ...(at?.path === undefined ? {} : { path: at.path }) };
  if (cause instanceof GraphQLError)
    return new GraphQLError(cause.message, {
      ...where,
      ...(cause.source === undefined ? {} : { source: cause.source }),
      ...(cause.positions === undefined ? {} : { positions: cause.positions }),
      extensions: { code: "input-malformed", hint: UNREADABLE, ...kept(cause) },
    });
  if (!isTributaryError(cause)) say({ event: "api-failed", message: messageOf(cause) });
  const { message, code, hint } = isTributaryError(cause)
    ? cause
    : new TributaryError("internal", "the hub failed", "Try again; the hub's log has the details.");
  return new GraphQLError(message, { ...where, extensions: { code, hint } });
}

/** GraphQL over HTTP says with which status some errors go out. */
const kept = ({ extensions: { http } }: GraphQLError): Pick<GraphQLError["extensions"], "http"> =>
  http === undefined ? {} : { http };

/** The errors of an answer, each as whoever asked is told it. What GraphQL says of a question comes as it is, without a code of ours. */
export const toldErrors = (
  errors: readonly GraphQLError[],
  say: (event: Record<string, unknown>) => void,
): readonly GraphQLError[] => errors.map((error) => (error.extensions.hint === undefined ? toldError(error, say) : error));

/** One of our errors, for a request that is refused as a whole. */
export const refused = (error: TributaryError, status = error.status): GraphQLError =>
  new GraphQLError(error.message, { extensions: { code: error.code, hint: error.hint, http: { status } } });
