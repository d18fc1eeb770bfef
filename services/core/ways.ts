/**
 * The kinds of addresses at which devices reach a hub, by their schemes. `isPrivate`: the connection itself proves whom it leads to, so a device that knows no key
 * of its hub yet may believe the first one that it is told there.
 */
export const WAYS = {
  "nats:": { isPrivate: false },
  "tls:": { isPrivate: true },
  "http:": { isPrivate: false },
  "https:": { isPrivate: true },
} as const satisfies Record<string, { readonly isPrivate: boolean }>;

/** How an address begins, as `WAYS` names it. */
export type Way = keyof typeof WAYS;

const isWay = (scheme: string): scheme is Way => Object.hasOwn(WAYS, scheme);

/** The way that an address names; `null`: none that a device could take. For several servers, the first one counts. */
export function wayOf(url: string): Way | null {
  const scheme = /^\s*([a-z][a-z0-9+.-]*:)\/\//i.exec(url)?.[1]?.toLowerCase() ?? "";
  return isWay(scheme) ? scheme : null;
}
