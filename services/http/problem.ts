import { isTributaryError, MEDIA_TYPE_PROBLEM, TributaryError } from "../core/index.ts";
import type { Answer, Asking } from "./route.ts";

/** A failure as a problem document (RFC 9457), with our code in `code` and what to do in `hint`. */
export const problem = (
  error: TributaryError,
  instance: string | undefined,
  more: Readonly<Record<string, unknown>> = {},
): Answer => ({
  status: error.status,
  type: MEDIA_TYPE_PROBLEM,
  body: {
    ...more,
    type: `urn:tributary:problem:${error.code}`,
    title: error.code,
    status: error.status,
    detail: error.message,
    hint: error.hint,
    code: error.code,
    instance,
  },
});

/** Turns anything thrown into a problem document. An error that is not ours is not quoted: it may name what must not be told outside. */
export const anyProblem = (error: unknown, { instance }: Pick<Asking, "instance">): Answer =>
  problem(
    isTributaryError(error)
      ? error
      : new TributaryError("internal", "the server failed", "Try again; the server's log has the details."),
    instance,
  );
