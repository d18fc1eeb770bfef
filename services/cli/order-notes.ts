import { ORDER_DEVICE, ORDER_FORM } from "../core/index.ts";
import type { Registry } from "../gate/index.ts";
import { type Log, openHubOrigin, signNotes } from "../log/index.ts";
import { keepNoting } from "../projector/index.ts";
import { hubRing } from "./keys.ts";
import type { Speaker } from "./registry.ts";

export interface NotingHere {
  readonly postgresUrl: string;
  readonly log: Log;
  readonly registry: Registry;
  readonly say: (event: Record<string, unknown>) => void;
}

/** Sees to it, while a process runs, that what other hubs let in gets its place in this hub's order. A hub that has no organisation has no origins of its own, and notes nothing. Returns what ends it. */
export async function keepNotingPlaces(
  { dir, org }: Speaker,
  { log, registry, ...deps }: NotingHere,
): Promise<() => Promise<void>> {
  if (org === "") return async () => {};
  const ring = await hubRing(dir);
  const stop = new AbortController();
  const origin = openHubOrigin({ log, org, device: ORDER_DEVICE, sign: (hub, run) => signNotes(ring.state().signer, hub, run) });
  const isReady = (): boolean => registry.versions(ORDER_FORM.subject).length > 0;
  const noting = keepNoting({ ...deps, origin, isReady, signal: stop.signal });
  return async () => {
    stop.abort();
    await noting;
  };
}
