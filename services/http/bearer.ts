/** The token that comes with a request. In comes an `Authorization` header's value; out comes a token in the one spelling that it has. */
import { TributaryError } from "../core/index.ts";

/**
 * The token in an `Authorization` header's value: of `Bearer`, or the password of `Basic`. It is three parts of base64url, as an encoder writes them; nothing in it is
 * checked yet. Throws `token-missing`, `token-invalid`. `again`: what to do about one that is not valid.
 */
export function tokenIn(authorization: string | null | undefined, again: string): string {
  const token = /^([\w-]+\.[\w-]+\.[\w-]+)$/.exec(bearerOf(authorization ?? ""))?.[1];
  if (token === undefined) throw noToken(authorization ?? "");
  if (token.split(".").every(isCanonical)) return token;
  throw new TributaryError("token-invalid", "the token is not valid: its base64 is not in the form that encoders write", again);
}

/** What stands after `Bearer`, or as the password of `Basic`; empty: neither does. */
export function bearerOf(authorization: string): string {
  const [, kind, rest] = /^(Bearer|Basic) (\S+)$/i.exec(authorization) ?? [];
  if (kind === undefined || rest === undefined) return "";
  if (kind.toLowerCase() === "bearer") return rest;
  const credentials = Buffer.from(rest, "base64").toString();
  return credentials.slice(credentials.indexOf(":") + 1);
}

/** What is wrong with an authorization that holds no token. */
function noToken(authorization: string): TributaryError {
  if (bearerOf(authorization) === "" && !/^(Bearer|Basic)\s+\S/i.test(authorization))
    return new TributaryError("token-missing", "no token came with the request", 'Send it as "Authorization: Bearer …".');
  return new TributaryError(
    "token-invalid",
    "what came with the request is not a token: a token is three parts with dots between them",
    "Copy all of it, as `tributary site add`, `tributary schema token` or `tributary token issue` printed it, without spaces or line ends.",
  );
}

/**
 * Whether a part of a token is base64url as an encoder writes it. Otherwise several texts would be the same token: `jose` takes padding bits that are not zero,
 * and lengths that no bytes have.
 */
const isCanonical = (part: string): boolean => Buffer.from(part, "base64url").toString("base64url") === part;
