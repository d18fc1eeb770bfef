import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { schemaCheck } from "../../services/audit/schemas.ts";
import { gateOver, registerFolder } from "../../services/cli/registry.ts";
import {
  eventText,
  GENESIS,
  type HubDeclaration,
  type JsonObject,
  type LogEntry,
  type Position,
  REGISTRATION_FORM,
  REGISTRY_DEVICE,
} from "../../services/core/index.ts";
import { chainHash } from "../../services/core/node.ts";
import { createGate, NO_CASTERS, type Registry, type SchemaText } from "../../services/gate/index.ts";
import { loadSchemas, openRegistry } from "../../services/gate/node.ts";
import { beginIncarnation, declareHubOrg, fitsStore, incarnations, openHubOrigin, textOf } from "../../services/log/index.ts";
import { SCHEMAS } from "../support/hub.ts";
import { type OriginLog, originLog } from "../support/origin-log.ts";

const FORMS = ["schema-change", "schema-registration"];
const all = loadSchemas(SCHEMAS);
const forms = { subjects: () => FORMS, versions: all.versions };
const by = { actor: "Rose" };

let kept: OriginLog;
const opened: Registry[] = [];
beforeEach(() => {
  kept = originLog();
});
afterEach(() => {
  for (const registry of opened.splice(0)) registry.close();
});

/** A process of a hub. `isSilent`: one that was stopped before it could write events. */
async function process(
  org = "relief",
  { isSilent = false, declared = [] }: { readonly isSilent?: boolean; readonly declared?: readonly HubDeclaration[] } = {},
): Promise<Registry> {
  const { log } = kept;
  await declareHubOrg(log.journal, org);
  const origin = isSilent ? {} : { origin: openHubOrigin({ log, org, device: REGISTRY_DEVICE }) };
  const registry = await openRegistry(log.journal, { hub: { org, declared, common: FORMS }, ...origin });
  opened.push(registry);
  return registry;
}
const withForms = async (registry: Registry): Promise<Registry> => {
  await registerFolder(registry, forms, "hub");
  return registry;
};
const visit = (more: JsonObject = {}): SchemaText => ({
  kind: "json",
  text: JSON.stringify({ type: "object", properties: { place: { type: "string" }, ...more }, additionalProperties: false }),
  references: [],
});
const told = (entries: readonly LogEntry[] = kept.entries): string[] =>
  entries.map(({ head, content }) => {
    const data = content.kind === "accepted" ? content.data : {};
    return `${head.type} ${head.entity.id}${data.version === undefined ? "" : `@${data.version}`}`;
  });
const problems = async (): Promise<string[]> => {
  const found: string[] = [];
  const check = schemaCheck(kept.log.journal, (where, what) => found.push(`${where}: ${what}`));
  for (const entry of kept.entries) check.entry(entry);
  await check.end();
  return found;
};
/** Whether each origin's events follow each other, by seq and hash. */
const isChained = (): boolean =>
  [...Map.groupBy(kept.entries, ({ head }) => head.origin).values()].every((entries) =>
    entries.every(({ head, content }, i) => {
      const prev = entries[i - 1]?.head.hash ?? GENESIS;
      return head.seq === i && head.prev === prev && chainHash(prev, eventText(head, textOf(content))) === head.hash;
    }),
  );

describe("what a hub registers (I39)", () => {
  it("becomes an event of the hub's own, the forms of such events first, each in a form that its gate lets through", async () => {
    const silent = await process("relief", { isSilent: true });
    await silent.register("visit", visit(), by);
    await withForms(silent);
    expect(kept.entries).toEqual([]);
    const registry = await process();
    expect(await registry.announce()).toBe(3);
    expect(told().slice(0, 2).sort()).toEqual(["schema.registered schema-change@1", "schema.registered schema-registration@1"]);
    expect(told()[2]).toBe("schema.registered visit@1");
    const [life] = await incarnations(kept.log.journal);
    expect(kept.entries[2]!.head).toMatchObject({
      origin: `relief.hub.registry.${life!.id}`,
      seq: 2,
      entity: { type: "schema", id: "visit" },
      schema: REGISTRATION_FORM,
      actor: "Rose",
    });
    expect(kept.entries[2]!.content).toMatchObject({ data: { ...visit(), subject: "visit", version: 1, authority: "relief" } });
    expect(kept.entries[0]!.content).toMatchObject({ data: { authority: null } });
    const gate = gateOver(registry, NO_CASTERS);
    for (const { head, content } of kept.entries)
      expect(content.kind === "accepted" && gate.check(head.schema, head.type, head.entity.type, content.data)).toBeNull();
    expect(isChained()).toBe(true);
    expect(await problems()).toEqual([]);
  });

  it("is told once, with all that is set for a subject, and nothing of what holds for all subjects or of what devices propose", async () => {
    const registry = await withForms(await process());
    await registry.register("visit", visit(), by);
    await registry.register("visit", visit({ note: { type: "string" } }), by);
    await registry.setLevel("visit", "BACKWARD", "Ann");
    await registry.setLevel(null, "NONE", "Ann");
    await registry.setDeleted("visit", 2, true, "Ann");
    await registry.setDeleted("visit", 1, true, "Ann");
    await registry.setDeleted("visit", 2, false, "Ann");
    await registry.setNormalize("visit", true, "Ann");
    await registry.propose("visit", 3, visit({ by: { type: "string" } }), "relief.juba.t1");
    await registry.setMode("visit", "READONLY", "Ann");
    const ofVisit = kept.entries.filter(({ head }) => head.entity.id === "visit");
    expect(ofVisit.map(({ content }) => (content.kind === "accepted" ? { ...content.data, fact: 0 } : null)).slice(2)).toEqual([
      { subject: "visit", level: "BACKWARD", fact: 0 },
      { subject: "visit", hidden: [2], fact: 0 },
      { subject: "visit", hidden: [1, 2], fact: 0 },
      { subject: "visit", hidden: [1], fact: 0 },
      { subject: "visit", normalize: true, fact: 0 },
      { subject: "visit", mode: "READONLY", fact: 0 },
    ]);
    // Each is written by somebody who has seen what was said of the subject before.
    expect(ofVisit.map(({ head }) => head.basis[head.origin])).toEqual([
      undefined,
      ...ofVisit.slice(0, -1).map(({ head }) => head.seq),
    ]);
    const before = kept.entries.length;
    expect([await registry.announce(), await (await process()).announce()]).toEqual([0, 0]);
    expect(kept.entries).toHaveLength(before);
    expect(await problems()).toEqual([]);
  });

  it("is told once by processes that write at the same time, in one chain", async () => {
    await withForms(await process());
    const processes = await Promise.all([process(), process(), process(), process()]);
    // Each waits until all have read where the origin ends.
    let waiting = 0;
    let planned = 0;
    const gates: (() => void)[] = [];
    kept.before = async (run) => {
      planned += run.length;
      if (++waiting > processes.length) return;
      if (waiting === processes.length) for (const open of gates) open();
      else await new Promise<void>((open) => gates.push(open));
    };
    await Promise.all(processes.map((registry, i) => registry.register(`visit-${i}`, visit(), by)));
    kept.before = async () => {};
    for (const registry of processes) await registry.announce();
    expect(told().slice(2).sort()).toEqual([0, 1, 2, 3].map((i) => `schema.registered visit-${i}@1`));
    // Most of what they wanted to write was written by another first.
    expect(planned).toBeGreaterThan(processes.length);
    expect(isChained()).toBe(true);
    expect(await problems()).toEqual([]);
  });

  it("is told when a hub starts, where the process that registered it was stopped in between", async () => {
    await withForms(await process());
    const stopped = await process("relief", { isSilent: true });
    await stopped.register("visit", visit(), by);
    await stopped.setLevel("visit", "FULL", "Ann");
    expect(kept.entries).toHaveLength(2);
    const registry = await process();
    expect(await registerFolder(registry, forms, "hub")).toEqual([]);
    expect(told().slice(2)).toEqual(["schema.registered visit@1", "schema.changed visit"]);
    expect(await problems()).toEqual([]);
  });

  it("goes on in an origin of its own after a restore, and tells only what has no event in the log", async () => {
    const registry = await withForms(await process());
    await registry.register("visit", visit(), by);
    const [life] = await incarnations(kept.log.journal);
    const next = await beginIncarnation(kept.log.journal, life!.id, { how: "restored", by: "Rose" });
    // The log was cut: the event is gone, its fact is not.
    kept.entries.pop();
    expect(await registry.announce()).toBe(1);
    expect(kept.entries.map(({ head }) => head.origin.split(".").at(-1))).toEqual([life!.id, life!.id, next.id]);
    expect(kept.entries.at(-1)!.head).toMatchObject({ seq: 0, entity: { id: "visit" } });
    expect(isChained()).toBe(true);
  });

  it("is not told in a log that was found set back, until its new life has begun: others may have read what it lacks", async () => {
    const registry = await withForms(await process());
    await registry.register("visit", visit(), by);
    kept.entries.pop();
    await registry.register("visit", visit({ note: { type: "string" } }), by);
    expect(kept.entries).toHaveLength(2);
    await expect(registry.announce()).rejects.toThrow("it was set back");
    const [life] = await incarnations(kept.log.journal);
    await beginIncarnation(kept.log.journal, life!.id, { how: "detected", by: "hub" });
    expect(await registry.announce()).toBe(2);
    expect(told().slice(2)).toEqual(["schema.registered visit@1", "schema.registered visit@2"]);
  });

  it("fits the log however it is written: a text as large as the registry takes, of characters that JSON doubles", async () => {
    const registry = await withForms(await process());
    const filler = (bytes: number): SchemaText => ({
      kind: "json",
      text: JSON.stringify({ $comment: '"'.repeat(bytes), type: "object" }),
      references: [],
    });
    await registry.register("large", filler(131_000), by);
    const entry = kept.entries.at(-1)!;
    expect(Buffer.byteLength(textOf(entry.content))).toBeGreaterThan(500_000);
    expect(fitsStore(entry)).toBe(true);
    expect(
      createGate(all).check(
        REGISTRATION_FORM,
        "schema.registered",
        "schema",
        entry.content.kind === "accepted" ? entry.content.data : {},
      ),
    ).toBeNull();
    await expect(registry.register("larger", filler(132_000), by)).rejects.toThrow("it has more than 262144 bytes");
  });
});

describe("a subject", () => {
  it("belongs to the hub that registered it first: another hub's registration is a proposal, which that hub may take", async () => {
    const relief = await withForms(await process());
    await relief.register("visit", visit(), by);
    const partner = await process("partner");
    expect(partner.authority("visit")).toBe("relief");
    const outcome = await partner.register("visit", visit({ note: { type: "string" } }), { actor: "Bo" });
    expect(outcome).toEqual({ kind: "proposed", authority: "relief" });
    await partner.register("visit", visit({ note: { type: "string" } }), { actor: "Bo" });
    expect(partner.versions("visit")).toHaveLength(1);
    const last = kept.entries.at(-1)!;
    expect(told()).toEqual([...told().slice(0, 2), "schema.registered visit@1", "schema.proposed visit@2"]);
    expect(last.head.origin).toMatch(/^partner\.hub\.registry\./);
    expect(last.content).toMatchObject({ data: { authority: "relief", version: 2 } });
    expect(relief.proposals()).toMatchObject([{ subject: "visit", version: 2, by: "Bo", org: "partner" }]);
    const { kind, text, references } = relief.proposals()[0]!;
    expect(await relief.register("visit", { kind, text, references }, by)).toMatchObject({ kind: "registered", isNew: true });
    expect(told().at(-1)).toBe("schema.registered visit@2");
    expect(kept.entries.at(-1)!.head.basis).toMatchObject({ [last.head.origin]: last.head.seq });
    expect(relief.proposals()).toEqual([]);
    expect(await problems()).toEqual([]);
  });

  it("is set by its own hub only, while the same text again is no proposal, and the program's forms are each hub's", async () => {
    await (await withForms(await process())).register("visit", visit(), by);
    const partner = await process("partner");
    for (const set of [
      partner.setLevel("visit", "NONE", "Bo"),
      partner.setMode("visit", "READONLY", "Bo"),
      partner.setNormalize("visit", true, "Bo"),
      partner.setDeleted("visit", 1, true, "Bo"),
    ])
      await expect(set).rejects.toMatchObject({
        code: "not-permitted",
        message: expect.stringContaining("the hub of relief has the say"),
      });
    expect(await partner.register("visit", visit(), { actor: "Bo" })).toMatchObject({ kind: "registered", isNew: false });
    expect(partner.authority("schema-change")).toBeNull();
    expect(await partner.register("camp", visit(), { actor: "Bo" })).toMatchObject({ kind: "registered", isNew: true });
    expect((await process()).authority("camp")).toBe("partner");
  });

  it("of a log from before authorities were noted belongs to the hub that the log belonged to then", async () => {
    const old = await openRegistry(kept.log.journal);
    opened.push(old);
    await old.register("visit", visit(), by);
    await registerFolder(old, forms, "hub");
    const declared = [{ org: "relief", position: 0n as Position }];
    const heir = await process("partner", { declared });
    expect(heir.authority("visit")).toBe("relief");
    expect(await heir.announce()).toBe(3);
    expect(kept.entries.at(-1)!.content).toMatchObject({ data: { subject: "visit", authority: "relief" } });
    expect((await process("partner")).authority("visit")).toBe("partner");
    expect(await problems()).toEqual([]);
  });
});

describe("an auditor", () => {
  it("sees an event that differs from its fact, tells nothing that was registered, tells it again, or comes out of order", async () => {
    const registry = await withForms(await process());
    await registry.register("visit", visit(), by);
    await registry.setLevel("visit", "FULL", "Ann");
    expect(await problems()).toEqual([]);
    const whole = [...kept.entries];
    const put = (at: number, change: JsonObject): void => {
      const entry = whole[at]!;
      if (entry.content.kind !== "accepted") throw new Error("it is accepted");
      kept.entries.splice(at, 1, { ...entry, content: { kind: "accepted", data: { ...entry.content.data, ...change } } });
    };
    const reset = (): void => void kept.entries.splice(0, kept.entries.length, ...whole);
    put(2, { text: "{}" });
    expect(await problems()).toEqual([expect.stringMatching(/\/2: it tells visit@1 otherwise than the registry has it/)]);
    reset();
    put(2, { authority: "partner" });
    expect(await problems()).toEqual([expect.stringContaining("otherwise")]);
    reset();
    put(3, { level: "NONE" });
    expect(await problems()).toEqual([expect.stringMatching(/\/3: it tells registry\/\d+ otherwise/)]);
    reset();
    put(3, { fact: 99 });
    expect(await problems()).toEqual([expect.stringMatching(/\/3: the registry has no registry\/99/)]);
    reset();
    kept.entries.push(whole[2]!);
    expect(await problems()).toEqual([expect.stringMatching(/\/2: it tells visit@1 again/)]);
    reset();
    put(2, { version: 2 });
    expect(await problems()).toEqual([
      expect.stringContaining("it tells visit@2 where version 1 should come"),
      expect.stringContaining("the registry has no visit@2"),
    ]);
  });
});
