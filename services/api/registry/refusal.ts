import { isTributaryError } from "../../core/index.ts";
import type { Answer } from "../../http/index.ts";

export const MEDIA_TYPE = "application/vnd.schemaregistry.v1+json";

/** The error codes of Confluent's registry: an HTTP status with two more digits. */
export const CODES = {
  subject: 40401,
  version: 40402,
  schema: 40403,
  deleted: 40404,
  versionDeleted: 40406,
  config: 40408,
  mode: 40409,
  incompatible: 40901,
  invalidSchema: 42201,
  invalidVersion: 42202,
  invalidLevel: 42203,
  invalidMode: 42204,
  readonly: 42205,
  notPossible: 42206,
  invalidSubject: 42208,
} as const;

/** A refusal in the words of Confluent's registry. `more`: further members of its answer. */
export class ApiError extends Error {
  readonly code: number;
  readonly more: Record<string, unknown>;
  constructor(code: number, message: string, more: Record<string, unknown> = {}) {
    super(message);
    this.code = code;
    this.more = more;
  }
}

/** A failure in the registry's own form; `null`: the failure is not a refusal. */
export function refusalOf(error: unknown): Answer | null {
  if (error instanceof ApiError) return told(error.code, error.message, error.more);
  if (!isTributaryError(error)) return null;
  const code =
    error.code === "schema-malformed"
      ? CODES.invalidSchema
      : error.code === "schema-readonly"
        ? CODES.readonly
        : error.code === "schema-conflict"
          ? CODES.incompatible
          : error.status * 100 + 1;
  return told(code, `${error.message}. ${error.hint}`);
}

const told = (code: number, message: string, more: Readonly<Record<string, unknown>> = {}): Answer => ({
  status: code < 1_000 ? code : Math.floor(code / 100),
  type: MEDIA_TYPE,
  body: { error_code: code, message, ...more },
});
