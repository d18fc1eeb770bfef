import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { type Command, inputOf } from "../../services/cli/args.ts";
import { auditEntity, auditVerify } from "../../services/cli/commands-audit.ts";
import { explainCommand } from "../../services/cli/commands-explain.ts";
import { parkedList, parkedRetry, parkedShow } from "../../services/cli/commands-parked.ts";
import { quarantineRelease } from "../../services/cli/commands-quarantine.ts";
import { lag } from "../../services/cli/commands-rebuild.ts";
import { hubOrg } from "../../services/cli/config.ts";
import { hubKey } from "../../services/cli/keys.ts";
import { writeState } from "../../services/cli/state.ts";
import { startIngress } from "../../services/ingress/index.ts";
import { incarnationOf } from "../../services/views/index.ts";
import { openTestHub, SCHEMAS, stateOf, type TestHub } from "../support/hub.ts";
import { change, oldWriter, person } from "../support/oldlog.ts";
import { eventually } from "../support/temp.ts";

let hub: TestHub;
beforeAll(async () => {
  hub = await openTestHub({ schemas: SCHEMAS });
  hubOrg(hub.dir, "relief");
  const { nats } = hub.backends;
  writeState(hub.dir, stateOf(hub.backends));
  // The desk signs with the folder's own key.
  await hub.ingress.close();
  hub.ingress = await startIngress({
    org: "relief",
    natsUrl: nats.url,
    log: hub.log,
    gate: hub.gate,
    registry: hub.registry!,
    keys: { keys: [await hubKey(hub.dir)] },
    listen: { host: "127.0.0.1", port: 0 },
    say: () => {},
  });
});
afterAll(async () => {
  await hub?.ingress.close();
  await hub?.close();
});

/** Runs a command as a user would: its exit code, and the text or the document that it prints. */
async function run(command: Command, ...args: string[]): Promise<{ code: number; text: string }> {
  let text = "";
  const write = vi.spyOn(process.stdout, "write").mockImplementation((chunk) => {
    text += String(chunk);
    return true;
  });
  try {
    return { code: await command.run(inputOf(command, [...args, "--data", hub.dir])), text };
  } finally {
    write.mockRestore();
  }
}
const json = async (command: Command, ...args: string[]): Promise<Record<string, never>> =>
  JSON.parse((await run(command, ...args, "--json")).text);
const row = async (id: string): Promise<unknown> =>
  (await hub.db.query("SELECT given_name, phone FROM views.beneficiaries WHERE id = $1", [id])).rows[0];
const isParked = async (id: string): Promise<boolean> =>
  (await hub.db.query("SELECT 1 FROM tributary.parked WHERE entity_id = $1", [id])).rows.length > 0;

it("a parked entity is listed, counted and notified, does not count as a broken promise, and is corrected from the desk", async () => {
  const writer = oldWriter(hub.log, "juba");
  await writer.append(
    person("JUB-000001", { phone: "+254700000001" }),
    change("JUB-000001", { given_name: "A\0b" }),
    person("JUB-000002"),
  );
  await hub.projected();
  const [listed] = (await json(parkedList)) as unknown as { view: string; entity: string; event: string }[];
  expect(listed).toMatchObject({ view: "beneficiaries", entity: "JUB-000001", event: `${writer.origin}/1` });
  expect((await run(parkedList)).text).toContain("1 parked: beneficiaries 1.");
  expect(await json(lag)).toMatchObject({
    parked: 1,
    parkedByView: { beneficiaries: 1 },
    events: 0,
    incarnation: await incarnationOf(hub.db),
  });
  expect((await run(explainCommand, "beneficiary", "JUB-000001", "given_name")).text).toContain(
    `It is parked at ${writer.origin}/1`,
  );
  const verified = await run(auditVerify);
  expect(verified.code).toBe(0);
  expect(verified.text).toContain("1 entity is parked, and the log shows why: no problem");
  expect(await json(auditVerify)).toMatchObject({ problemCount: 0, parked: [{ view: "beneficiaries", entity: "JUB-000001" }] });
  expect((await run(parkedShow, "beneficiaries", "JUB-000001")).text).toContain("JUB-000001 in beneficiaries");

  // Every name that the list prints is accepted.
  for (const name of ["beneficiaries/JUB-000001", "JUB-000001", `${writer.origin}/1`]) {
    expect(await json(parkedRetry, name)).toEqual({ asked: 1 });
    expect((await run(parkedShow, name)).text).toContain("JUB-000001 in beneficiaries");
  }
  // Also where the shell splits it into words, or two columns are copied.
  for (const words of [
    ["beneficiaries", "JUB-000001"],
    ["beneficiaries", `${writer.origin}/1`],
    ["beneficiary/JUB-000001"],
    ["--view", "beneficiaries", "JUB-000001"],
    ["beneficiaries/JUB-000001", `${writer.origin}/1`],
  ]) {
    expect(await json(parkedRetry, ...words)).toEqual({ asked: 1 });
    if (words[0] !== "--view") expect((await run(parkedShow, ...words)).text).toContain("JUB-000001 in beneficiaries");
  }
  await expect(run(parkedRetry, "JUB-000009")).rejects.toMatchObject({ code: "not-found" });
  await eventually("the retry", async () => (await hub.db.query("SELECT 1 FROM tributary.refold")).rows.length === 0);
  expect(await isParked("JUB-000001")).toBe(true);

  await expect(run(quarantineRelease, `${writer.origin}/1`)).rejects.toMatchObject({
    code: "usage",
    hint: expect.stringContaining("--set"),
  });
  await expect(run(quarantineRelease, `${writer.origin}/1`, "--set", "sex=banana")).rejects.toMatchObject({
    code: "event-invalid",
  });
  expect(
    (await run(quarantineRelease, `${writer.origin}/1`, "--set", "given_name=Ayen", "--note", "asked her", "--actor", "akol"))
      .text,
  ).toContain("Corrected beneficiary/JUB-000001: given_name");
  await hub.projected();
  await eventually("the mending", async () => !(await isParked("JUB-000001")));
  expect(await row("JUB-000001")).toEqual({ given_name: "Ayen", phone: "+254700000001" });
  expect((await run(explainCommand, "beneficiary", "JUB-000001", "given_name")).text).toContain("akol");
  expect(await json(auditVerify)).toMatchObject({ problemCount: 0, parked: [] });
  expect((await run(parkedList)).text).toBe("Nothing is parked.\n");
});

it("each name in the first column of the list can be pasted after `parked retry`, whatever the id: with spaces, slashes, marks that a terminal does not show", async () => {
  const ids = ["YEI 000 001", "YEI/000/002", "YEI-\u202e000003", "beneficiaries", "YEI 000"];
  const writer = oldWriter(hub.log, "yei");
  for (const id of ids) await writer.append(person(id), change(id, { given_name: "A\0b" }));
  await hub.projected();
  const { text } = await run(parkedList);
  const names = text
    .split("\n")
    .filter((line) => line.includes(writer.origin))
    .map((line) => line.slice(0, line.indexOf(writer.origin)).trim());
  expect(names).toHaveLength(ids.length);
  for (const name of names) {
    expect(await json(parkedRetry, name)).toEqual({ asked: 1 });
    // Pasted without quotes.
    const words = name.split(" ");
    expect(await json(parkedRetry, ...words)).toEqual({ asked: 1 });
    expect(JSON.parse((await run(parkedShow, ...words, "--json")).text).event).toMatch(writer.origin);
  }
  expect(await json(parkedRetry, ...names.flatMap((name) => name.split(" ")))).toEqual({ asked: ids.length });
  for (const id of ids) {
    await run(quarantineRelease, `beneficiaries/${id}`, "--set", "given_name=Ayen");
    await hub.projected();
    await eventually("the mending", async () => !(await isParked(id)));
  }
});

it("an entity is told by its type and id: another of the same id, of another type, does not show in its history", async () => {
  const id = "SAME-000001";
  const [one, two] = [oldWriter(hub.log, "bor"), oldWriter(hub.log, "malakal")];
  await one.append(person(id), {
    type: "distribution.recorded",
    entity: { type: "distribution", id },
    data: { distribution_no: id, registration_no: id, item: "RICE", quantity: 12.5, unit: "KG", distributed_on: "2026-03-02" },
  });
  await one.append(change(id, { phone: "+254700000001" }));
  await two.append(change(id, { phone: "+254700000002" }));
  await hub.projected();
  for (const words of [["beneficiary", id], [`beneficiary/${id}`]])
    expect(await json(auditEntity, ...words)).toMatchObject({
      entity: `beneficiary/${id}`,
      events: [{ type: "beneficiary.registered" }, { type: "beneficiary.updated" }, { type: "beneficiary.updated" }],
      decisions: [{ register: "phone", view: "beneficiaries" }],
    });
  for (const words of [["distribution", id], [`distribution/${id}`]]) {
    expect(await json(auditEntity, ...words)).toMatchObject({
      entity: `distribution/${id}`,
      events: [{ type: "distribution.recorded" }],
      decisions: [],
    });
    expect((await run(auditEntity, ...words)).text).not.toContain("phone");
  }
});

it("when one of several columns that change together is corrected, the others stay as they are", async () => {
  await oldWriter(hub.log, "wau").append(
    person("WAU-000001", { district: "Wau", village: "North" }),
    change("WAU-000001", { district: "Wau", village: "So\0uth" }),
  );
  await hub.projected();
  expect(await isParked("WAU-000001")).toBe(true);
  await run(quarantineRelease, "beneficiaries/WAU-000001", "--set", "village=South");
  await hub.projected();
  await eventually("the mending", async () => !(await isParked("WAU-000001")));
  expect((await hub.db.query("SELECT district, village FROM views.beneficiaries WHERE id = 'WAU-000001'")).rows).toEqual([
    { district: "Wau", village: "South" },
  ]);
});

it("a position names the log's incarnation, and a position of another incarnation is refused with a sentence", async () => {
  const trail = (await json(auditEntity, "beneficiary/JUB-000002")) as unknown as {
    incarnation: string;
    events: { position: string }[];
  };
  expect(trail.incarnation).toBe(await incarnationOf(hub.db));
  const at = `${trail.incarnation}:${trail.events[0]!.position}`;
  expect(await json(auditEntity, "beneficiary/JUB-000002", "--as-of", at)).toMatchObject({
    incarnation: trail.incarnation,
    events: 1,
  });
  await expect(
    run(auditEntity, "beneficiary/JUB-000002", "--as-of", `aaaaaaaaaaaa:${trail.events[0]!.position}`),
  ).rejects.toMatchObject({
    code: "usage",
    message: expect.stringContaining("another incarnation of the log"),
  });
  await expect(run(auditEntity, "beneficiary/JUB-000002", "--as-of", "99999999999999999999")).rejects.toMatchObject({
    code: "usage",
  });
});
