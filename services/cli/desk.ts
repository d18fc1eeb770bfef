import { join } from "node:path";
import type { EntityRef, Vector } from "../core/index.ts";
import { type Appended, type NewEvent, openField, type SyncResult } from "../field/index.ts";
import type { Gate } from "../gate/index.ts";
import { SCOPE_APPEND, SCOPE_ENROL } from "../ingress/index.ts";
import { type HubState, issueHubToken } from "./places.ts";

const TOKEN_S = 300;
/** Events that are written in one transaction. */
const CHUNK = 500;

/** The hub's own origin: what its people decide is written as events, and goes the way of every other event. */
export async function writeAtDesk(
  dir: string,
  state: HubState,
  gate: Gate,
  events: readonly NewEvent[],
  /** What its writer has been shown of entities: what they write builds on it. */
  shown: readonly { readonly entity: EntityRef; readonly seen: Vector }[] = [],
): Promise<{ readonly appended: readonly Appended[]; readonly sync: SyncResult }> {
  const name = { org: state.org, site: "hub", device: "console" };
  using desk = openField({ path: join(dir, "console.db"), name, schemas: gate });
  for (const { entity, seen } of shown) desk.noteSeen(entity, seen);
  const appended: Appended[] = [];
  for (let at = 0; at < events.length; at += CHUNK) appended.push(...(await desk.appendMany(events.slice(at, at + CHUNK))));
  const sync = await desk.sync({
    url: state.natsUrl,
    // Whoever has the hub's signing key may give the console a key anew: its database can be lost as any.
    token: await issueHubToken(dir, { ...name, lifetimeS: TOKEN_S, scopes: [SCOPE_APPEND, SCOPE_ENROL] }),
  });
  return { appended, sync };
}
