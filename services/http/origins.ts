/**
 * Which web pages may ask a hub from a browser, and what every answer tells a browser. Source: Fetch, "CORS protocol" (https://fetch.spec.whatwg.org/#http-cors-protocol). Tokens travel in a header
 * that scripts set, never in cookies, so no answer allows credentials.
 */

/** For a browser: show nothing of an answer as a page, guess no media type, tell nobody where one came from. */
export const STRICT_HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};

const ASKED_HEADERS = "authorization, content-type, if-none-match, prefer";
const SHOWN_HEADERS = "etag, retry-after, content-disposition";
/** A browser need not ask again for so long. Seconds. */
const MAX_AGE_S = 600;

/** What a browser is told about an answer to a page of some origin; nothing, where that page may not read it. */
export const corsHeaders = (allowed: readonly string[], origin: string | undefined): Record<string, string> =>
  allowed.length === 0
    ? {}
    : {
        vary: "origin",
        ...(origin === undefined || !allowed.includes(origin)
          ? {}
          : {
              "access-control-allow-origin": origin,
              "access-control-expose-headers": SHOWN_HEADERS,
              "cross-origin-resource-policy": "cross-origin",
            }),
      };

/** What a browser is told that asks before it asks. `methods`: those that the path takes. */
export const preflightHeaders = (
  allowed: readonly string[],
  origin: string | undefined,
  methods: readonly string[],
): Record<string, string> =>
  origin === undefined || !allowed.includes(origin)
    ? {}
    : {
        "access-control-allow-methods": methods.join(", "),
        "access-control-allow-headers": ASKED_HEADERS,
        "access-control-max-age": String(MAX_AGE_S),
      };

/** Whether a web page may open a socket to the hub. Programs that are no browsers send no origin: their token alone counts. `host`: the `Host` header. */
export function maySocket(allowed: readonly string[], origin: string | undefined, host: string | undefined): boolean {
  if (origin === undefined || allowed.includes(origin)) return true;
  return host !== undefined && URL.parse(origin)?.host === host;
}
