import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ApiTestHub, BRICK, fill, OTHER, openApiTestHub, type Told } from "../support/api-hub.ts";
import { number, ORG, registration, update } from "../support/hub.ts";

let hub: ApiTestHub;
let amina: string;
let ruth: string;
let hana: string;
beforeAll(async () => {
  hub = await openApiTestHub();
  await fill(hub);
  amina = await hub.person(ORG, "coordinator", "amina");
  ruth = await hub.person(ORG, "admin", "ruth");
  hana = await hub.person(OTHER, "coordinator", "hana");
});
afterAll(() => hub?.close());

/** A member deep in an answer. */
function at(told: Told, ...path: readonly (string | number)[]): unknown {
  let value: unknown = told.data;
  for (const part of path) value = (value as Record<string | number, unknown> | null)?.[part];
  return value;
}
const entity = (n: number) => `{type: "beneficiary", id: "${number(n)}"}`;
/** How many events the log has. Its end also moves by what the hub notes of itself. */
async function eventsInLog(): Promise<number> {
  let count = 0;
  for await (const _ of hub.log.readAll()) count++;
  return count;
}
const codeOf = (told: Told) => told.errors[0]?.extensions?.code;

describe("people decide", () => {
  const caseOf = async (token: string, rule: string) =>
    String(at(await hub.ask(token, `{ cases(rule: "${rule}", state: open) { cases { id } } }`), "cases", "cases", 0, "id"));

  it("a conflict of theirs, in their own name", async () => {
    const id = await caseOf(amina, "phone");
    const details = await hub.ask(amina, `{ case(id: "${id}") { choices { pick value } events { type } notes { kind } } }`);
    const choices = at(details, "case", "choices") as readonly { pick: string; value: string }[];
    const pick = choices.find(({ value }) => value === "+254700000001")?.pick;
    const wrong = await hub.ask(amina, `mutation { decideCase(case: "${id}", pick: "${pick}", value: "x") { value } }`);
    expect(codeOf(wrong)).toBe("usage");
    expect(
      at(
        await hub.ask(amina, `mutation { assignCase(case: "${id}", to: "amina", note: "mine") { type } }`),
        "assignCase",
        "type",
      ),
    ).toBe("case.assigned");
    expect(
      at(await hub.ask(amina, `mutation { commentCase(case: "${id}", text: "asked her") { type } }`), "commentCase", "type"),
    ).toBe("case.commented");
    const decided = await hub.ask(
      amina,
      `mutation { decideCase(case: "${id}", pick: "${pick}", note: "by phone") { value event { id origin } } }`,
    );
    expect(decided.errors).toEqual([]);
    expect(at(decided, "decideCase", "value")).toBe("+254700000001");
    await hub.projected();
    const after = await hub.ask(
      amina,
      `{ case(id: "${id}") { case { state assignee } notes { kind actor text } } rows { phones(id: "${number(1)}") { phone conflicts } } }`,
    );
    expect(after.data).toMatchObject({
      case: {
        case: { state: "closed", assignee: "amina" },
        notes: [
          { kind: "assigned", actor: "amina" },
          { actor: "amina", text: "asked her" },
        ],
      },
      rows: { phones: { phone: "+254700000001", conflicts: 0 } },
    });
    const trail = await hub.ask(ruth, `{ trail(entity: ${entity(1)}) { events { type actor origin } } }`);
    const last = (at(trail, "trail", "events") as readonly { type: string; actor: string; origin: string }[]).at(-1);
    expect(last).toMatchObject({
      type: "conflict.resolved",
      actor: "amina",
      origin: expect.stringMatching(/^relief\.hub\.api\./),
    });
  });

  it("a broken invariant stays as it is, for a reason", async () => {
    const id = await caseOf(amina, "not_zero");
    expect((await hub.ask(amina, `mutation { acceptCase(case: "${id}", note: "no phone at all") { data } }`)).errors).toEqual([]);
    await hub.projected();
    expect(at(await hub.ask(amina, `{ case(id: "${id}") { case { state acceptedBy acceptedNote } } }`), "case", "case")).toEqual({
      state: "accepted",
      acceptedBy: "amina",
      acceptedNote: "no phone at all",
    });
  });

  it("nothing of another organisation's, and learn nothing by trying", async () => {
    const theirs = await caseOf(hana, "phone");
    const end = await eventsInLog();
    for (const call of [
      `decideCase(case: "CASE", value: "+254700000009") { value }`,
      `assignCase(case: "CASE", to: "amina") { type }`,
      `acceptCase(case: "CASE", note: "x") { type }`,
      `commentCase(case: "CASE", text: "x") { type }`,
    ]) {
      const words = async (id: string) =>
        (await hub.ask(amina, `mutation { ${call.replace("CASE", id)} }`)).text.replaceAll(id, "CASE");
      expect(await words(theirs)).toBe(await words("0123456789ab"));
      expect(await words(theirs)).toContain("not-found");
    }
    expect(at(await hub.ask(amina, `{ case(id: "${theirs}") { case { id } } }`), "case")).toBeNull();
    expect(
      codeOf(
        await hub.ask(
          amina,
          `mutation { decideRegister(entity: ${entity(11)}, register: "phone", value: "+254700000009") { value } }`,
        ),
      ),
    ).toBe("not-found");
    expect(await eventsInLog()).toBe(end);
    // Its own people may.
    expect((await hub.ask(hana, `mutation { decideCase(case: "${theirs}", value: "+254700000009") { value } }`)).errors).toEqual(
      [],
    );
  });

  it("what becomes of quarantined events of theirs", async () => {
    const names = async (token: string) =>
      (
        at(await hub.ask(token, "{ quarantine(state: held) { events { name } } }"), "quarantine", "events") as readonly {
          name: string;
        }[]
      ).map(({ name }) => name);
    const [mine] = await names(amina);
    const [theirs] = await names(hana);
    expect(mine).toMatch(/^relief\./);
    expect(theirs).toMatch(/^health\./);
    expect(
      at(
        await hub.ask(amina, `{ quarantined(event: "${mine}") { data schema problems { message } } }`),
        "quarantined",
        "problems",
        0,
        "message",
      ),
    ).toContain("household_size");
    for (const call of [
      `releaseQuarantined(events: ["EVENT"], changes: [{field: "household_size", value: 4}]) { released }`,
      `rejectQuarantined(events: ["EVENT"], reason: "x")`,
    ]) {
      const refused = await hub.ask(amina, `mutation { ${call.replace("EVENT", String(theirs))} }`);
      expect(codeOf(refused)).toBe("not-found");
      expect(refused.text).not.toContain(BRICK);
    }
    const dry = await hub.ask(
      amina,
      `mutation { releaseQuarantined(events: ["${mine}"], dryRun: true) { released held { problem } } }`,
    );
    expect(at(dry, "releaseQuarantined", "held")).toHaveLength(1);
    const done = await hub.ask(
      amina,
      `mutation { releaseQuarantined(events: ["${mine}"], changes: [{field: "household_size", value: 9}], note: "a slip") { released } }`,
    );
    expect(at(done, "releaseQuarantined", "released")).toEqual([mine]);
    expect(
      (await hub.ask(hana, `mutation { rejectQuarantined(events: ["${theirs}"], reason: "no such household") }`)).errors,
    ).toEqual([]);
    await hub.projected();
    expect(await names(ruth)).toEqual([]);
    expect(at(await hub.ask(amina, `{ quarantine { events { state settledBy } } }`), "quarantine", "events")).toEqual([
      { state: "released", settledBy: "amina" },
    ]);
  });

  it("that a view try again what it could not fold, of theirs", async () => {
    const parked = async (token: string) =>
      (at(await hub.ask(token, "{ parked { view entity } }"), "parked") as readonly { view: string; entity: string }[]).map(
        ({ view, entity: of }) => `${view}/${of}`,
      );
    expect([await parked(amina), await parked(hana)]).toEqual([[`risky/${number(2)}`], [`risky/${number(12)}`]]);
    const retry = (token: string, names: string) => hub.ask(token, `mutation { retryParked(view: "risky"${names}) }`);
    expect(codeOf(await retry(amina, `, names: ["risky/${number(12)}"]`))).toBe("not-found");
    const asked = async () => (await hub.db.query("SELECT entity_id FROM tributary.refold WHERE view = 'risky'")).rowCount;
    expect(await asked()).toBe(0);
    // All, and so those that are theirs.
    expect((await retry(amina, "")).data).toEqual({ retryParked: 1 });
    expect((await hub.ask(await hub.person("nobodys", "coordinator"), "mutation { retryParked }")).data).toEqual({
      retryParked: 0,
    });
  });

  it("which policies hold, and what a site would be given", async () => {
    const policy = `{name: "all-people", for: {sites: ["base", "nowhere"]}, entities: {beneficiary: {}}}`;
    const before = await hub.ask(
      ruth,
      `{ previewPolicies(site: "base", instead: [${policy}]) { grants { policy entityType entities } } }`,
    );
    expect(at(before, "previewPolicies", "grants")).toEqual([
      { policy: "all-people", entityType: "beneficiary", entities: expect.any(Number) },
    ]);
    const set = await hub.ask(ruth, `mutation { setPolicy(policy: ${policy}) { name for absentSites } }`);
    expect(at(set, "setPolicy")).toMatchObject({
      name: "all-people",
      for: { sites: ["relief.base", "relief.nowhere"] },
      absentSites: ["relief.base", "relief.nowhere"],
    });
    await hub.projected();
    expect(at(await hub.ask(amina, "{ policies { name setBy } }"), "policies")).toEqual([{ name: "all-people", setBy: "ruth" }]);
    expect((await hub.ask(ruth, `mutation { removePolicy(name: "all-people") }`)).errors).toEqual([]);
    await hub.projected();
    expect(at(await hub.ask(amina, "{ policies { name } }"), "policies")).toEqual([]);
  });

  it("which sites there are, of their own organisation only", async () => {
    const added = await hub.ask(hana, `mutation { registerSite(site: "clinic", title: "Clinic") { org site token code } }`);
    expect(at(added, "registerSite")).toMatchObject({
      org: OTHER,
      site: "clinic",
      token: expect.stringMatching(/\./),
      code: expect.any(String),
    });
    for (const call of [
      `registerSite(org: "health", site: "spy") { token }`,
      `revokeSite(org: "health", site: "clinic") { site }`,
      `revokeSite(site: "hub") { site }`,
    ])
      expect(codeOf(await hub.ask(amina, `mutation { ${call} }`))).toBe("not-permitted");
    expect(codeOf(await hub.ask(amina, `mutation { registerSite(site: "programs") { token } }`))).toBe("usage");
    await hub.projected();
    const sitesOf = async (token: string) =>
      (at(await hub.ask(token, "{ sites { org site } }"), "sites") as readonly { org: string; site: string }[]).map(
        ({ org, site }) => `${org}.${site}`,
      );
    expect(await sitesOf(hana)).toContain("health.clinic");
    expect((await sitesOf(amina)).filter((name) => name.startsWith("health"))).toEqual([]);
    expect(
      at(await hub.ask(hana, `mutation { revokeSite(site: "clinic", reason: "closed") { site devices } }`), "revokeSite"),
    ).toEqual({ site: "health.clinic", devices: [] });
  });

  it("which schemas there are, after what would break is shown", async () => {
    const schema = (type: string) =>
      JSON.stringify({
        $schema: "https://json-schema.org/draft/2020-12/schema",
        tributary: { entity: "well", events: ["well.dug"] },
        type: "object",
        properties: { depth: { type } },
        additionalProperties: false,
      });
    const register = (type: string) =>
      hub.ask(
        ruth,
        `mutation ($text: String!) { registerSchema(subject: "well", kind: json, text: $text) { outcome isNew version { version actor } findings { message hint } } }`,
        { text: schema(type) },
      );
    expect(at(await register("number"), "registerSchema")).toMatchObject({
      outcome: "registered",
      isNew: true,
      version: { version: 1, actor: "ruth" },
    });
    const check = await hub.ask(
      ruth,
      `query ($text: String!) { checkSchema(subject: "well", kind: json, text: $text) { rule message } }`,
      { text: schema("string") },
    );
    expect(at(check, "checkSchema")).not.toEqual([]);
    expect(at(await register("string"), "registerSchema")).toMatchObject({ outcome: "incompatible", version: null });
    expect(
      at(
        await hub.ask(
          amina,
          `{ subject(name: "well") { entity versions { version text } } none: subject(name: "nothing") { name } }`,
        ),
        "subject",
        "versions",
      ),
    ).toHaveLength(1);
    expect(
      codeOf(
        await hub.ask(
          amina,
          `mutation ($text: String!) { registerSchema(subject: "well", kind: json, text: $text) { outcome } }`,
          { text: schema("number") },
        ),
      ),
    ).toBe("right-missing");
  });
});

describe("programs append events", () => {
  const append = (token: string, events: readonly unknown[]) =>
    hub.ask(token, "mutation ($events: [EventInput!]!) { append(events: $events) { events { origin seq quarantined } } }", {
      events,
    });
  const plain = (event: ReturnType<typeof registration | typeof update>) => ({
    type: event.type,
    entity: event.entity,
    data: event.data,
  });

  it("in a person's name, without a device, through an origin of their organisation", async () => {
    const field = await hub.person(OTHER, "field", "omar");
    const told = await append(field, [plain(registration(number(50), { given_name: BRICK }))]);
    expect(told.errors).toEqual([]);
    expect(at(told, "append", "events", 0)).toMatchObject({
      origin: expect.stringMatching(/^health\.programs\.api\./),
      seq: 0,
      quarantined: null,
    });
    await hub.projected();
    expect(
      at(await hub.ask(hana, `{ rows { beneficiaries(id: "${number(50)}") { given_name } } }`), "rows", "beneficiaries"),
    ).toEqual({ given_name: BRICK });
    expect(
      at(await hub.ask(amina, `{ rows { beneficiaries(id: "${number(50)}") { given_name } } }`), "rows", "beneficiaries"),
    ).toBeNull();
  });

  it("that build on what their author has seen", async () => {
    const page = await hub.ask(
      amina,
      `{ views { beneficiaries(where: {id: {eq: "${number(3)}"}}) { through rows { phone } } } }`,
    );
    const seenThrough = at(page, "views", "beneficiaries", "through");
    const conflicts = async () =>
      at(await hub.ask(amina, `{ rows { phones(id: "${number(3)}") { phone conflicts } } }`), "rows", "phones");
    expect((await append(amina, [{ ...plain(update(number(3), { phone: "+254700000303" })), seenThrough }])).errors).toEqual([]);
    await hub.projected();
    expect(await conflicts()).toEqual({ phone: "+254700000303", conflicts: 0 });
  });

  it("nothing that only the hub's people write, and no decision", async () => {
    const end = await eventsInLog();
    for (const event of [
      { type: "policy.set", entity: { type: "policy", id: "p" }, data: { for: "everyone", entities: {} } },
      { type: "site.registered", entity: { type: "site", id: "relief.spy" }, data: { org: "relief", site: "spy" } },
      { type: "quarantine.released", entity: { type: "quarantine", id: "x" }, data: {} },
      { type: "case.commented", entity: { type: "case", id: "x" }, data: { text: "x" } },
      { type: "conflict.resolved", entity: { type: "beneficiary", id: number(1) }, data: { values: {} } },
    ])
      expect([event.type, codeOf(await append(ruth, [event]))]).toEqual([event.type, "not-permitted"]);
    expect(codeOf(await append(ruth, [{ ...plain(registration("x")), data: { registration_no: 5 } }]))).toBe("event-invalid");
    expect(codeOf(await append(ruth, []))).toBe("input-malformed");
    expect(codeOf(await append(await hub.token("base"), [plain(registration(number(60)))]))).toBe("not-permitted");
    expect(await eventsInLog()).toBe(end);
  });

  it("one after another, many at once", async () => {
    const events = [70, 71, 72, 73, 74].map((n) => plain(registration(number(n))));
    const told = await Promise.all(events.map((event) => append(amina, [event])));
    expect(told.flatMap(({ errors }) => errors)).toEqual([]);
    const seqs = told.map((each) => at(each, "append", "events", 0, "seq"));
    expect(new Set(seqs).size).toBe(5);
  });
});
