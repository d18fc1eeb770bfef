import { type HubOrg, isOwnOrigin, type OriginId, TributaryError } from "../core/index.ts";

/** Throws `not-permitted` for an origin that only the hub's own processes append to: they write straight to the log. */
export function refuseOwn(origin: OriginId, hub: HubOrg): void {
  if (!isOwnOrigin(origin, hub)) return;
  throw new TributaryError(
    "not-permitted",
    `${origin} is the hub's own: only its processes append to it, and not through the door`,
    "Write as another device, or register schemas with `tributary schema register`.",
  );
}
