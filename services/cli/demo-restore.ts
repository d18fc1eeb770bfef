import { rmSync } from "node:fs";
import { join } from "node:path";
import { type Field, openField } from "../field/index.ts";
import { openLog } from "../log/index.ts";
import type { Output } from "./output.ts";
import { SCHEMAS_DIR } from "./program.ts";
import { addSite } from "./sites.ts";
import type { Hub } from "./supervise.ts";

const SITE = { name: "malakal", title: "Malakal, river port", actor: "nyamal" } as const;
const BEFORE = 40;
const AFTER = 25;

export interface RestoreFacts {
  /** What the tablet holds, and how much of it the restored hub has, once each and as the tablet wrote it. */
  readonly events: number;
  readonly inLogExactlyOnce: number;
  /** Events that had been confirmed after the backup, and were gone with the machine. */
  readonly lost: number;
  /** Events that the tablet sent again although nobody had asked a person to do anything. */
  readonly sentAgain: number;
}

export interface RestoreDeps {
  readonly hub: Hub;
  readonly hubData: string;
  readonly sitesDir: string;
  readonly cli: (args: readonly string[]) => Promise<string>;
  /** Starts a hub over the restored folder. */
  startAgain(): Promise<Hub>;
  /** Waits until a hub's views have all that its log holds. */
  settled(hub: Hub): Promise<void>;
}

/** A backup while the hub works, the machine lost, a restore, and what the devices make of it. */
export async function tellRestore(out: Output, deps: RestoreDeps): Promise<RestoreFacts> {
  const { hub, hubData, sitesDir, cli, startAgain, settled } = deps;
  const { token } = await addSite(hubData, hub.state, { site: SITE.name, title: SITE.title, days: 90, actor: "coordinator" });
  const field = openField({
    path: join(sitesDir, `${SITE.name}.db`),
    name: { org: hub.state.org, site: SITE.name, device: "tablet-1" },
    schemas: SCHEMAS_DIR,
  });
  try {
    await register(field, 0, BEFORE);
    await field.sync({ url: hub.state.natsUrl, token });
    const backup = join(sitesDir, "backup");
    await cli(["backup", backup, "--data", hubData]);
    out.line(`\n   ${SITE.title} registers ${BEFORE} people and syncs. \`tributary backup\` copies the hub while it works.`);

    await register(field, BEFORE, AFTER);
    await field.sync({ url: hub.state.natsUrl, token });
    await settled(hub);
    out.line(`   It registers ${AFTER} more; the hub confirms them. Then the hub's machine is lost, with all of its disk.`);
    await hub.close();
    rmSync(hubData, { recursive: true, force: true });

    await cli(["restore", backup, "--data", hubData]);
    const restored = await startAgain();
    const lost = field.status().levels.SYNCED - (await countOnce(restored, field));
    out.line(
      `   \`tributary restore\` makes a new one from the backup: ${lost} events that had been confirmed are not in its log.`,
    );

    const { confirmed } = await field.sync({ url: restored.state.natsUrl, token });
    await settled(restored);
    const inLogExactlyOnce = await countOnce(restored, field);
    const { events } = field.status();
    out.line(
      `   The tablet has nothing new to say. It syncs, hears that the log is a restored one, and sends ${confirmed} events again by itself:`,
    );
    out.line(`   ${inLogExactlyOnce} of its ${events} events are in the log exactly once.`);
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
