import { rmSync } from "node:fs";
import { join } from "node:path";
import { withoutLogin } from "../core/index.ts";
import type { Field } from "../field/index.ts";
import { openLog } from "../log/index.ts";
import { cli, openTablet, type Stage } from "./demo-stage.ts";
import { addSite } from "./sites.ts";
import type { Hub } from "./supervise.ts";

const SITE = { name: "malakal", title: "Malakal, river port", actor: "nyamal" } as const;
const BEFORE = 40;
const AFTER = 25;

export interface RestoreFacts {
  /** How many events the tablet holds, and how many of them the restored hub has, once each and as the tablet wrote them. */
  readonly events: number;
  readonly inLogExactlyOnce: number;
  /** Events that had been confirmed after the backup, and were gone with the machine. */
  readonly lost: number;
  /** Events that the tablet sent again without anybody being asked to do anything. */
  readonly sentAgain: number;
}

export interface RestoreDeps {
  /** Starts a hub over the restored folder. */
  startAgain(): Promise<Hub>;
  /** Waits until a hub's views have everything that its log holds. */
  projected(hub: Hub): Promise<void>;
}

/** The hub is backed up while it works, its machine is lost, and the backup is restored; then the devices sync. */
export async function tellRestore(stage: Stage, { startAgain, projected }: RestoreDeps): Promise<RestoreFacts> {
  const { out, hub, hubData, sitesDir } = stage;
  const { token } = await addSite(hubData, hub.state, { site: SITE.name, title: SITE.title, days: 90, actor: "coordinator" });
  const { field, clock } = await openTablet(stage, hub.state.org, SITE.name);
  const sync = ({ state }: Hub): ReturnType<Field["sync"]> => {
    clock.putRight();
    return field.sync({ url: withoutLogin(state.natsUrl), token });
  };
  try {
    clock.set("2026-05-25T08:00Z");
    await register(field, 0, BEFORE);
    await sync(hub);
    const backup = join(sitesDir, "backup");
    await cli(["backup", backup, "--data", hubData]);
    out.line(
      `\n   25 May: ${SITE.title} registers ${BEFORE} people and syncs. In the evening the hub is backed up while it works.`,
    );

    clock.set("2026-05-26T08:00Z");
    await register(field, BEFORE, AFTER);
    await sync(hub);
    await projected(hub);
    out.line(
      `   26 May: it registers ${AFTER} more, and the hub confirms them. Then the hub's machine is lost, with all of its disk.`,
    );
    await hub.close();
    rmSync(hubData, { recursive: true, force: true });

    await cli(["restore", backup, "--data", hubData]);
    const restored = await startAgain();
    const lost = field.status().levels.SYNCED - (await countOnce(restored, field));
    out.line(`   27 May: a new machine, and the backup. ${lost} people who had been confirmed are not in it.`);

    const { confirmed } = await sync(restored);
    await projected(restored);
    const inLogExactlyOnce = await countOnce(restored, field);
    const { events } = field.status();
    out.line(
      `   The tablet syncs as on every day. It hears that the hub is a restored one, and sends ${confirmed} events again by itself.`,
    );
    out.line(`   ${inLogExactlyOnce} of its ${events} registrations are in the hub, once each.`);
    return { events, inLogExactlyOnce, lost, sentAgain: confirmed };
  } finally {
    field.close();
  }
}

async function register(field: Field, from: number, count: number): Promise<void> {
  for (let i = from; i < from + count; i++) {
    const id = `MLK-${String(i).padStart(6, "0")}`;
    await field.append({
      type: "beneficiary.registered",
      entity: { type: "beneficiary", id },
      data: { registration_no: id, given_name: "Achol", sex: "female", registered_on: "2026-05-03", household_size: 1 + (i % 9) },
      actor: SITE.actor,
    });
  }
}

/** How many of a device's events are in the hub's log once, with the hash that the device computed. */
async function countOnce({ state }: Hub, field: Field): Promise<number> {
  const log = openLog(state.eventstoreUrl);
  try {
    const found = new Map<string, string[]>();
    for await (const { head } of log.readAll()) {
      const key = `${head.origin}/${head.seq}`;
      found.set(key, [...(found.get(key) ?? []), head.hash]);
    }
    let count = 0;
    for (const { origin, seq, hash } of field.events()) {
      const hashes = found.get(`${origin}/${seq}`);
      if (hashes?.length === 1 && hashes[0] === hash) count++;
    }
    return count;
  } finally {
    await log.close();
  }
}
