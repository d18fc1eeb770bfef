/**
 * What the library of that name exports, in the types of Node. Its own file names `lib.dom`, and with it every file of ours would know `name`, `event` and `status` as variables that nobody
 * declared. tsconfig.json puts this file in the place of that one.
 */
declare module "@whatwg-node/fetch" {
  export const fetch: typeof globalThis.fetch;
  export const Headers: typeof globalThis.Headers;
  export const Request: typeof globalThis.Request;
  export const Response: typeof globalThis.Response;
  export const URL: typeof globalThis.URL;
  export const URLSearchParams: typeof globalThis.URLSearchParams;
  export function createFetch(options?: object): object;
}
