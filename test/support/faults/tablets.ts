/** Tablets that write and sync. */
import { join } from "node:path";
import { ROOT } from "../../../services/cli/program.ts";
import { messageOf, withoutLogin } from "../../../services/core/index.ts";
import { type NewEvent, openField } from "../../../services/field/index.ts";
import { sleep } from "../temp.ts";
import { stateOf } from "./hub.ts";
import type { Tablet, World } from "./world.ts";

const PEOPLE = 12;

export function newTablet({ dir }: World, site: string, device: string): Tablet {
  return { site, device, path: join(dir, `${site}-${device}.db`) };
}

export const openTablet = (tablet: Tablet, more: { readonly maxPages?: number } = {}) =>
  openField({
    path: tablet.path,
    name: { org: "relief", site: tablet.site, device: tablet.device },
    schemas: join(ROOT, "schemas"),
    ...more,
  });

/** An event with a unique key, which is found again in the log. */
export function nextWrite(world: World): NewEvent {
  const n = world.count++;
  if (n % 4 === 3) {
    const id = `FLT-${String(Math.floor(world.next() * PEOPLE)).padStart(6, "0")}`;
    return {
      type: "beneficiary.updated",
      entity: { type: "beneficiary", id },
      data: { phone: `+2119${String(n).padStart(8, "0")}` },
      actor: "soak",
    };
  }
  const movement = `M-${n}`;
  return {
    type: "stock.received",
    entity: { type: "stock-movement", id: movement },
    data: { movement_no: movement, item: "RICE", quantity: 1, unit: "KG", moved_on: "2026-05-03" },
    actor: "soak",
  };
}

/** What distinguishes a write from all others, from its data. */
export function keyOf(data: { readonly [name: string]: unknown }): string | null {
  const key = data.movement_no ?? data.phone;
  return typeof key === "string" ? key : null;
}

export async function write(world: World, tablet: Tablet, count: number): Promise<void> {
  const field = openTablet(tablet);
  try {
    for (let i = 0; i < count; i++) {
      const event = nextWrite(world);
      await field.append(event);
      world.due.add(keyOf(event.data)!);
    }
  } finally {
    field.close();
  }
}

/** One sync, as an app makes it: what fails is tried again at another time. */
export async function syncOnce(world: World, tablet: Tablet, timeoutMs: number): Promise<boolean> {
  const field = openTablet(tablet);
  try {
    const { natsUrl: hubsOwn, httpUrl } = stateOf(world);
    const natsUrl = withoutLogin(hubsOwn);
    const { pending } = await field.sync({
      url: world.count % 3 === 0 && httpUrl !== "" ? httpUrl : natsUrl,
      token: world.tokens.get(tablet.site)!,
      replyTimeoutMs: 5_000,
      batchEvents: 10,
      maxTries: 6,
      signal: AbortSignal.timeout(timeoutMs),
      sleep: (ms) => sleep(Math.min(ms, 500)),
    });
    return pending === 0;
  } catch (error) {
    world.say(`  ${tablet.site}-${tablet.device}: ${messageOf(error)}`);
    return false;
  } finally {
    field.close();
  }
}

export function keysOn(path: string): Set<string> {
  const keys = new Set<string>();
  const field = openField({ path, schemas: join(ROOT, "schemas") });
  try {
    for (const { data } of field.events()) keys.add(keyOf(JSON.parse(data) as Record<string, unknown>) ?? "");
  } finally {
    field.close();
  }
  return keys;
}
