import { describe, expect, it } from "vitest";
import type { JsonObject, JsonValue } from "../../services/core/index.ts";
import { acceptRefusal } from "../../services/desk/cases.ts";
import { decisionOn } from "../../services/desk/decide.ts";
import { choicesOf, registerSite, siteTypes } from "../../services/desk/index.ts";
import { namedAmong } from "../../services/desk/parked.ts";
import { mended, releasesOf } from "../../services/desk/quarantine.ts";
import { formOf, openedWith, refusalOf, registerOf } from "../../services/desk/standing.ts";
import type { NewEvent } from "../../services/field/index.ts";
import { createGate } from "../../services/gate/index.ts";
import { loadSchemas } from "../../services/gate/node.ts";
import { DELETED, type EntityState, fold } from "../../services/merge/engine.ts";
import { date, defineProjection, manual, remove, set, text } from "../../services/merge/index.ts";
import type { ParkedEntity, QuarantineRow } from "../../services/views/index.ts";
import { JUBA, KAMPALA, personEvent } from "../support/writes.ts";

const gate = createGate(loadSchemas("schemas"));
const beneficiaries = defineProjection({
  name: "beneficiaries",
  entity: "beneficiary",
  columns: { given_name: text(), phone: text(), birth_date: date(), district: text(), village: text(), status: text() },
  groups: { location: ["district", "village"] },
  resolve: { phone: manual },
  authority: { status: { orgs: ["unhcr"] } },
  events: { "beneficiary.registered": set(), "beneficiary.updated": set(), "beneficiary.removed": remove() },
});
const desk = { org: "relief", gate, projections: [beneficiaries] };

/** The state of a beneficiary after these writes, none of whose authors had seen another. */
function known(...writes: readonly JsonObject[]): EntityState {
  let state: EntityState | undefined;
  for (const [i, data] of writes.entries())
    state =
      fold(beneficiaries, state, {
        ...personEvent(i === 0 ? JUBA : KAMPALA, "beneficiary.updated", data, { actor: i === 0 ? "deng" : "aisha" }),
        entity: { type: "beneficiary", id: "B1" },
      })?.state ?? state;
  if (state === undefined) throw new Error("nothing was written");
  return state;
}
const opened = (register: string, ...writes: readonly JsonObject[]) =>
  openedWith(registerOf(desk.projections, { view: null, type: "beneficiary", id: "B1", register }), {
    id: "B1",
    state: known(...writes),
    caseId: null,
  });
const decided = (register: string, value: JsonValue) =>
  decisionOn(desk, opened(register, { given_name: "A" }), { chosen: { value }, actor: "maria" });
const refused = (code: string, message: RegExp) => expect.objectContaining({ code, message: expect.stringMatching(message) });

describe("a decision", () => {
  it("by a code takes the value that the code was shown for, with the case and the note in its event", () => {
    const conflict = { ...opened("phone", { phone: "+254700000001" }, { phone: "+254700000002" }), caseId: "c1" };
    const second = choicesOf(conflict.values).find(({ actor }) => actor === "aisha");
    expect(second).toMatchObject({ value: "+254700000002" });
    expect(decisionOn(desk, conflict, { chosen: { pick: second!.pick }, actor: "maria", note: "asked" })).toEqual({
      entity: { type: "beneficiary", id: "B1" },
      value: "+254700000002",
      data: { values: { phone: "+254700000002" }, case: "c1", note: "asked" },
    });
  });

  it("by an event's name takes that event's value", () => {
    const conflict = opened("phone", { phone: "+254700000001" }, { phone: "+254700000002" });
    expect(decisionOn(desk, conflict, { chosen: { pick: `${JUBA}/0` }, actor: "maria" }).value).toBe("+254700000001");
  });

  it("by a code that names no value is refused, and the values that stand are listed with their codes", () => {
    const conflict = opened("phone", { phone: "+254700000001" }, { phone: "+254700000002" });
    const [first] = choicesOf(conflict.values);
    expect(() => decisionOn(desk, conflict, { chosen: { pick: "2" }, actor: "maria" })).toThrow(
      expect.objectContaining({
        code: "usage",
        hint: expect.stringContaining(`${first!.pick} “${String(first!.value)}” by ${first!.actor}`),
      }),
    );
  });

  it("may set a value that nobody wrote, and empty one", () => {
    expect(decided("phone", "+254712345678").data).toEqual({ values: { phone: "+254712345678" } });
    expect(decided("phone", null).data).toEqual({ values: { phone: null } });
  });

  it("on columns that change together must name them all, or empty them all", () => {
    expect(decided("location", { district: "Wau", village: null }).data.values).toEqual({ district: "Wau", village: null });
    expect(decided("village", null).data.values).toEqual({ district: null, village: null });
    expect(() => decided("location", { village: "x" })).toThrow(refused("usage", /leaves out district/));
    expect(() => decided("location", { district: "d", village: "v", phone: "1" })).toThrow(refused("usage", /phone is not in/));
    expect(() => decided("location", 12)).toThrow(refused("usage", /JSON object of district, village/));
  });

  it("on whether the entity is deleted is true or false", () => {
    expect(decided(DELETED, true).data).toEqual({ values: {}, deleted: true });
    expect(() => decided(DELETED, "yes")).toThrow(refused("usage", /true or false/));
  });

  it("must fit the column and the forms, as at the door", () => {
    expect(() => decided("phone", 12)).toThrow(refused("event-invalid", /does not fit beneficiaries.phone/));
    expect(() => decided("phone", "none")).toThrow(refused("event-invalid", /phone/));
    expect(() => decided("birth_date", "2019-02-30")).toThrow(refused("event-invalid", /birth_date/));
  });

  it("on a field over which others have the say is refused, and they are named", () => {
    expect(() => decided("status", "idp")).toThrow(
      expect.objectContaining({ code: "not-permitted", hint: expect.stringContaining("orgs unhcr") }),
    );
  });

  it("on a register or a type that no view has is refused", () => {
    const wanted = { view: null, type: "beneficiary", id: "B1", register: "shoes" };
    expect(() => registerOf(desk.projections, wanted)).toThrow(refused("not-found", /has no register shoes/));
    expect(() => registerOf(desk.projections, { ...wanted, type: "cow" })).toThrow(refused("not-found", /type cow/));
  });

  it("comes with the form in which its value is written", () => {
    const ruleOf = (register: string) => opened(register, { given_name: "A" }).rule;
    expect(formOf(ruleOf("phone"))).toEqual({ kind: "column", column: "phone" });
    expect(formOf(ruleOf("location"))).toEqual({ kind: "columns", columns: ["district", "village"] });
    expect(formOf(ruleOf(DELETED))).toEqual({ kind: "presence" });
  });
});

describe("a case", () => {
  const of = (kind: "register" | "invariant" | "fork", state: "open" | "accepted" | "closed" = "open") => ({
    id: "c1",
    kind,
    state,
  });

  it("of a conflict can be decided and not accepted, one of an invariant or a fork accepted and not decided, and a closed one neither", () => {
    expect(refusalOf(of("register"))).toBeNull();
    expect(acceptRefusal(of("register"))).toMatchObject({ code: "usage" });
    for (const kind of ["invariant", "fork"] as const) {
      expect(refusalOf(of(kind))).toMatchObject({ code: "usage" });
      expect(acceptRefusal(of(kind))).toBeNull();
    }
    for (const kind of ["register", "invariant", "fork"] as const) {
      expect(refusalOf(of(kind, "closed"))).toMatchObject({ code: "usage" });
      expect(acceptRefusal(of(kind, "closed"))).toMatchObject({ code: "usage" });
    }
  });
});

describe("a quarantined event", () => {
  const held = (data: JsonObject | string): QuarantineRow => ({
    origin: "relief.juba.t1.a",
    seq: 7,
    position: "90",
    id: "0198c5a0-0000-7000-8000-000000000000",
    type: "beneficiary.updated",
    entityType: "beneficiary",
    entityId: "B1",
    entity: "beneficiary/B1",
    schema: "beneficiary-update@1",
    site: "juba",
    actor: "deng",
    recordedAt: "2026-05-03T08:00:00Z",
    subject: "beneficiary-update",
    version: 1,
    code: "invalid",
    reason: "phone: no",
    path: "/phone",
    raw: typeof data === "string" ? data : JSON.stringify(data),
    hash: "h",
    state: "held",
    settledAt: null,
    settledBy: null,
    settledNote: null,
  });
  const asItIs = { changes: [], replacement: null, actor: "maria" };

  it("that fits after a change is released with the changed data, which count from now on as its author's", () => {
    const { events, held: left } = releasesOf(desk, [held({ phone: "nine" })], {
      ...asItIs,
      changes: [["phone", "+211912345678"]],
      note: "typing error",
    });
    expect(left).toEqual([]);
    expect(events).toMatchObject([
      {
        entity: { type: "quarantine", id: "relief.juba.t1.a/7" },
        actor: "maria",
        data: { origin: "relief.juba.t1.a", seq: 7, hash: "h", data: { phone: "+211912345678" }, note: "typing error" },
      },
    ]);
  });

  it("that does not fit stays held, and what is wrong with it is said", () => {
    expect(releasesOf(desk, [held({ phone: "nine" })], asItIs)).toMatchObject({
      events: [],
      held: [{ event: "relief.juba.t1.a/7", problem: expect.stringContaining("phone") }],
    });
  });

  it("whose data are not an object stays held, unless all of the data are given again", () => {
    expect(releasesOf(desk, [held("\u0000")], asItIs).held).toMatchObject([
      { problem: expect.stringContaining("give all of the data again") },
    ]);
    expect(releasesOf(desk, [held("\u0000")], { ...asItIs, replacement: { phone: null } }).events).toHaveLength(1);
  });

  it("loses a field that is set to nothing, and keeps the rest", () => {
    expect(mended({ phone: "x", village: "y" }, [["phone", null]])).toEqual({ village: "y" });
  });
});

describe("a parked entity", () => {
  const row = (view: string, entity: string, event: string): ParkedEntity => ({
    ...{ view, entity, event, entityType: "beneficiary", type: "beneficiary.updated", position: "1" },
    ...{ error: "no", stack: "", state: null, parkedAt: "", waiting: 0 },
  });
  const rows = [row("people", "B1", "o/1"), row("homes", "B1", "o/1"), row("people", "B2", "o/2")];

  it("is meant by any name that the list prints, and in every view if the name has no view", () => {
    const meant = (name: string) => namedAmong(rows, [name]).found.map(({ view, entity }) => `${view}/${entity}`);
    expect(meant("people/B1")).toEqual(["people/B1"]);
    for (const name of ["B1", "beneficiary/B1", "o/1"]) expect(meant(name)).toEqual(["people/B1", "homes/B1"]);
    expect(namedAmong(rows, ["B2", "B9"])).toMatchObject({ found: [{ entity: "B2" }], missing: ["B9"] });
  });
});

describe("a new site", () => {
  const admission = {
    ...{ token: "t", login: { user: "u", pass: "p" }, rights: { publish: [], subscribe: [] } },
    ...{ code: "c", codeExpiresAt: "2026-05-10T00:00:00Z" },
  };

  it("is written before anything lets its devices in, and what lets them in is for that site and no longer than was asked", async () => {
    const happened: unknown[] = [];
    const write = async (events: readonly NewEvent[]) => {
      happened.push(events[0]!.entity);
      return { appended: [], sync: {} as never }; // the result is not looked at
    };
    const added = await registerSite(
      { org: "relief", gate, write },
      { site: "wau", types: ["beneficiary", "cow"], days: 2, actor: "m" },
      async (grant) => {
        happened.push(grant);
        return admission;
      },
    );
    expect(happened).toMatchObject([
      { type: "site", id: "relief.wau" },
      { org: "relief", site: "wau", types: ["beneficiary", "cow"], lifetimeS: 172_800, actor: "m" },
    ]);
    expect(added).toMatchObject({ org: "relief", site: "wau", token: "t", typesWithoutSchema: ["cow"] });
    expect(Date.parse(added.expiresAt)).toBeLessThanOrEqual(Date.now() + 172_800_000);
  });

  it("cannot be the hub's own, and nothing is written for a name that no site can have", async () => {
    const never = (): never => {
      throw new Error("something was written");
    };
    const register = (site: string) => registerSite({ org: "relief", gate, write: never }, { site, days: 1, actor: "m" }, never);
    await expect(register("hub")).rejects.toMatchObject({ code: "usage" });
    await expect(register("Not A Name")).rejects.toMatchObject({ code: "input-malformed" });
  });

  it("may write about any entity types but the hub's own", () => {
    expect(siteTypes(["beneficiary", "beneficiary"])).toEqual(["beneficiary"]);
    for (const types of [["site"], ["case"], ["quarantine"], ["a/b"], []])
      expect(() => siteTypes(types)).toThrow(expect.objectContaining({ code: "usage" }));
  });
});
