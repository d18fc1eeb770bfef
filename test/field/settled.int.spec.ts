import { afterAll, beforeAll, expect, it } from "vitest";
import { type JsonObject, QUARANTINE_ENTITY, REJECTED, RELEASED } from "../../services/core/index.ts";
import type { Field, FieldStatus, NewEvent } from "../../services/field/index.ts";
import { startIngress } from "../../services/ingress/index.ts";
import { runHere } from "../support/here.ts";
import { gate, openTestHub, registration, type TestHub, update } from "../support/hub.ts";

let hub: TestHub;
beforeAll(async () => {
  hub = await openTestHub();
});
afterAll(() => hub?.close());

type Held = FieldStatus["quarantined"][number];
const hashOf = async ({ origin, seq }: Held): Promise<string> =>
  (await hub.db.query<{ hash: string }>("SELECT hash FROM tributary.quarantine WHERE origin = $1 AND seq = $2", [origin, seq]))
    .rows[0]!.hash;
const settling = async (type: string, held: Held, more: JsonObject): Promise<NewEvent> => ({
  type,
  entity: { type: QUARANTINE_ENTITY, id: `${held.origin}/${held.seq}` },
  actor: "operator",
  data: { origin: held.origin, seq: held.seq, hash: await hashOf(held), ...more },
});
const release = (held: Held, id: string, data: JsonObject): Promise<NewEvent> =>
  settling(RELEASED, held, {
    type: held.type,
    entity: { type: "beneficiary", id },
    schema: { subject: "beneficiary-update", version: 1 },
    data,
  });
const tokenOf = (site: string) => hub.token(site);
/** A device with a good event and some that do not fit, which the hub holds. */
async function withHeld(site: string, ids: readonly string[], url = hub.backends.nats.url): Promise<Field> {
  const field = hub.field(site);
  for (const id of ids) {
    await field.append(registration(id));
    await field.append(update(id, { phone: "0712" }), { onInvalid: "keep" });
  }
  expect((await field.sync({ url, token: await tokenOf(site) })).quarantined.length).toBe(ids.length);
  await hub.projected();
  return field;
}

it("a device's event loses its mark at the sync after its release, and a rejected one is named with the reason, over both doors (I36)", async () => {
  for (const [site, url] of [
    ["juba", hub.backends.nats.url],
    ["bor", hub.ingress.http!.url],
  ] as const) {
    const ids = ["SET-000001", "SET-000002", "SET-000003"].map((id) => id.replace("SET", site.toUpperCase().slice(0, 3)));
    const field = await withHeld(site, ids, url);
    const sync = async () => field.sync({ url, token: await tokenOf(site) });
    expect(await sync()).toMatchObject({ released: 0, rejected: [] });
    const [first, second, third] = field.status().quarantined;
    await hub.settle([
      await release(first!, ids[0]!, { phone: "+211912345678" }),
      await settling(REJECTED, second!, { reason: "a test by the trainer" }),
    ]);
    await hub.projected();
    expect(field.status().quarantined.length).toBe(3);
    const told = { origin: second!.origin, seq: second!.seq, reason: "a test by the trainer" };
    expect(await sync()).toMatchObject({ confirmed: 0, released: 1, rejected: [told] });
    expect(field.status().quarantined).toEqual([third]);
    expect(field.status().rejected).toEqual([{ ...second!, rejection: "a test by the trainer" }]);
    const { stdout } = await runHere("field", "status", "--db", field.store.path);
    expect(stdout).toContain(`rejected: beneficiary/${ids[1]}: a test by the trainer (it was quarantined: phone '0712'`);
    expect(stdout).not.toContain(ids[0]);
    expect(await sync()).toMatchObject({ released: 0, rejected: [] });
    expect(await field.sync({ url, token: await tokenOf(site), again: true })).toMatchObject({ pending: 0 });
    expect(field.status().quarantined).toEqual([third]);
  }
});

it("a device that came back as a copy hears of what its earlier epoch wrote", async () => {
  const field = await withHeld("wau", ["WAU-000001"]);
  const [held] = field.status().quarantined;
  field.store.transaction(() => field.store.startEpoch());
  await field.append(registration("WAU-000002"));
  await hub.settle([await release(held!, "WAU-000001", { phone: "+211912345678" })]);
  await hub.projected();
  const sync = { url: hub.backends.nats.url, token: await tokenOf("wau") };
  expect(await field.sync(sync)).toMatchObject({ confirmed: 1, released: 1 });
  expect(field.status().quarantined).toEqual([]);
});

it("a device that nobody tells goes on as before: the hub is older, or its views are away", async () => {
  const field = await withHeld("yei", ["YEI-000001"]);
  const [held] = field.status().quarantined;
  await hub.settle([await release(held!, "YEI-000001", { phone: "+211912345678" })]);
  await hub.projected();
  const old = await startIngress({
    ...{ org: "relief", natsUrl: hub.backends.nats.url, log: hub.log, gate, keys: { keys: [hub.key] } },
    listen: { host: "127.0.0.1", port: 0 },
  });
  try {
    await field.append(registration("YEI-000002"));
    const result = await field.sync({ url: old.http!.url, token: await tokenOf("yei") });
    expect(result).toMatchObject({ confirmed: 1, pending: 0, released: 0 });
    expect(field.status().quarantined).toEqual([held]);
  } finally {
    await old.close();
  }
  expect(await field.sync({ url: hub.ingress.http!.url, token: await tokenOf("yei") })).toMatchObject({ released: 1 });
  expect(field.status()).toMatchObject({ quarantined: [], rejected: [] });
});
