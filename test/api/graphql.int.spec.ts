import { serverAudits } from "graphql-http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AMBER, type ApiTestHub, asked, BRICK, fill, openApiTestHub, type Told } from "../support/api-hub.ts";
import { number, ORG, update } from "../support/hub.ts";

let hub: ApiTestHub;
let amina: string;
let ruth: string;
beforeAll(async () => {
  hub = await openApiTestHub();
  await fill(hub);
  amina = await hub.person(ORG, "coordinator", "amina");
  ruth = await hub.person(ORG, "admin", "ruth");
});
afterAll(() => hub?.close());

/** A member deep in an answer. */
function at(told: Told, ...path: readonly (string | number)[]): unknown {
  let value: unknown = told.data;
  for (const part of path) value = (value as Record<string | number, unknown> | null)?.[part];
  return value;
}
const entity = (n: number) => `{type: "beneficiary", id: "${number(n)}"}`;
const idsOf = (told: Told, view = "beneficiaries") =>
  (at(told, "views", view, "rows") as readonly { readonly id: string }[] | undefined)?.map(({ id }) => id);
/** How many events the log has. Its end also moves by what the hub notes of itself. */
async function eventsInLog(): Promise<number> {
  let count = 0;
  for await (const _ of hub.log.readAll()) count++;
  return count;
}
const codeOf = (told: Told) => told.errors[0]?.extensions?.code;

describe("GraphQL over HTTP", () => {
  it("is served as its specification says: all audits of MUST and SHOULD pass", async () => {
    const audits = serverAudits({
      url: `${hub.url}/graphql`,
      fetchFn: (url: string, init: RequestInit = {}) => {
        const headers = new Headers(init.headers);
        headers.set("authorization", `Bearer ${amina}`);
        return fetch(url, { ...init, headers });
      },
    });
    const failed: string[] = [];
    for (const audit of audits) {
      const result = await audit.fn();
      if (result.status !== "ok") failed.push(`${result.status}: ${audit.name}: ${result.reason}`);
    }
    expect(audits.length).toBeGreaterThan(60);
    expect(failed).toEqual([]);
  });

  it("answers nobody without a token, and says so before a question is read", async () => {
    const told = await asked(`${hub.url}/graphql`, { method: "POST", body: "{" });
    expect(told.status).toBe(401);
    expect(told.text).toContain("token-missing");
  });

  it("reads by GET and does not write by it", async () => {
    const get = (query: string) =>
      asked(`${hub.url}/graphql?${new URLSearchParams({ query })}`, { headers: { authorization: `Bearer ${amina}` } });
    expect(at(await get("{ me { subject } }"), "me", "subject")).toBe("amina");
    const end = await eventsInLog();
    expect((await get(`mutation { commentCase(case: "x", text: "y") { case } }`)).status).toBe(405);
    expect(await eventsInLog()).toBe(end);
  });

  it("has strict headers, and no page that shows it", async () => {
    const response = await fetch(`${hub.url}/graphql?query={me{org}}`, {
      headers: { authorization: `Bearer ${amina}`, origin: "https://elsewhere.example", accept: "text/html" },
    });
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(response.headers.get("access-control-allow-origin")).toBeNull();
    expect(await response.text()).not.toContain("<html");
  });

  it("is in the hub's OpenAPI document", async () => {
    const document = (await (await fetch(`${hub.url}/v1/openapi.json`)).json()) as { paths: Record<string, object> };
    expect(Object.keys(document.paths["/graphql"] ?? {}).sort()).toEqual(["get", "post"]);
  });

  it("tells errors with code and hint, and never what a driver or a program says", async () => {
    const unknown = await hub.ask(amina, "{ nothing }");
    expect(unknown.errors[0]).toMatchObject({
      message: expect.stringContaining("nothing"),
      extensions: { code: "input-malformed", hint: expect.stringContaining("schema") },
    });
    const view = await hub.ask(amina, `{ explain(entity: {type: "ghost", id: "1"}) { view } }`);
    expect(view.errors[0]?.extensions).toMatchObject({ code: "not-found", hint: expect.any(String) });
    await hub.db.query("ALTER TABLE views.phones RENAME COLUMN extra TO gone");
    try {
      const broken = await hub.ask(amina, "{ views { phones(where: {extra: {isNull: true}}) { rows { id } } } }");
      expect(["backend-failed", "input-malformed"]).toContain(codeOf(broken));
      await hub.db.query("ALTER TABLE tributary.parked RENAME COLUMN error TO mistake");
      const failed = await hub.ask(amina, "{ parked { view } }");
      expect(codeOf(failed)).toBe("backend-failed");
      expect(failed.text).not.toMatch(/p\.error|SELECT|\.ts|stack/);
    } finally {
      await hub.db.query(
        "ALTER TABLE views.phones RENAME COLUMN gone TO extra; ALTER TABLE tributary.parked RENAME COLUMN mistake TO error",
      );
    }
  });
});

describe("rows", () => {
  const views = (call: string, of = "id") => hub.ask(amina, `{ views { ${call} { rows { ${of} } next total through } } }`);

  it("are asked for by conditions on columns", async () => {
    const where = async (conditions: string) => idsOf(await views(`beneficiaries(where: {${conditions}})`));
    expect(await where("household_size: {ge: 5}")).toEqual([number(1), number(3)]);
    expect(await where("household_size: {ge: 5, lt: 9}")).toEqual([number(1)]);
    expect(await where(`id: {in: ["${number(1)}", "${number(2)}", "${number(11)}"]}`)).toEqual([number(1), number(2)]);
    expect(await where(`given_name: {eq: "${AMBER}"}, household_size: {ne: 2}`)).toEqual([number(1), number(3)]);
    expect(await where(`given_name: {contains: "AMBER"}`)).toEqual([number(1), number(2), number(3)]);
    expect(await where("birth_date: {isNull: false}")).toEqual([]);
    expect(await where(`registered_on: {le: "2026-01-05"}, deleted: {eq: false}`)).toHaveLength(3);
    expect(codeOf(await views(`beneficiaries(where: {given_name: {eq: null}})`))).toBe("input-malformed");
    expect(codeOf(await views(`beneficiaries(where: {registered_on: {eq: "2026-02-30"}})`))).toBe("input-malformed");
  });

  it("come in pages that neither lose a row nor show one twice, whichever way they are sorted", async () => {
    for (const order of [
      "",
      "sort: household_size",
      "sort: household_size, descending: true",
      "descending: true",
      "sort: village",
    ]) {
      const seen: string[] = [];
      let after = "";
      for (let pages = 0; pages < 5; pages++) {
        const told = await views(`beneficiaries(first: 1, count: true, ${order}${after})`);
        seen.push(...(idsOf(told) ?? []));
        expect(at(told, "views", "beneficiaries", "total")).toBe(3);
        const next = at(told, "views", "beneficiaries", "next");
        if (next === null) break;
        after = `, after: "${String(next)}"`;
      }
      expect([...seen].sort(), order).toEqual([number(1), number(2), number(3)]);
    }
    const next = String(at(await views("beneficiaries(first: 1)"), "views", "beneficiaries", "next"));
    expect(codeOf(await views(`beneficiaries(first: 1, sort: village, after: "${next}")`))).toBe("input-malformed");
    expect(codeOf(await views(`beneficiaries(after: "e30")`))).toBe("input-malformed");
  });

  it("are not found by a place that nobody was given", async () => {
    const forged = (...parts: readonly unknown[]) => Buffer.from(JSON.stringify(parts)).toString("base64url");
    for (const query of [
      `{ views { beneficiaries(sort: household_size, after: "${forged("beneficiaries household_size false", "many", "x")}") { next } } }`,
      `{ views { beneficiaries(after: "${forged("beneficiaries id false", null)}") { next } } }`,
      `{ views { beneficiaries(after: "${forged("beneficiaries id false", 5, {})}") { next } } }`,
      `{ history(entity: ${entity(1)}, after: "${forged("history beneficiaries", "many")}") { view } }`,
      `{ quarantine(after: "${forged("quarantine", "99999999999999999999")}") { total } }`,
    ])
      expect([query, codeOf(await hub.ask(amina, query))]).toEqual([query, "input-malformed"]);
  });

  it("are shown as they were, at a position or a time", async () => {
    const before = String(at(await views("beneficiaries"), "views", "beneficiaries", "through"));
    const time = new Date().toISOString();
    await hub.send(ORG, [update(number(2), { household_size: 3 })]);
    const size = async (more: string) =>
      at(
        await hub.ask(amina, `{ rows { beneficiaries(id: "${number(2)}"${more}) { household_size } } }`),
        "rows",
        "beneficiaries",
        "household_size",
      );
    expect(await size("")).toBe(3);
    expect(await size(`, asOf: {position: "${before}"}`)).toBe(2);
    expect(await size(`, asOf: {time: "${time}"}`)).toBe(2);
    const page = await views(`beneficiaries(asOf: {position: "${before}"}, where: {household_size: {eq: 2}}, count: true)`);
    expect(idsOf(page)).toEqual([number(2)]);
    expect(at(page, "views", "beneficiaries", "through")).toBe(before);
    expect(codeOf(await views(`beneficiaries(asOf: {position: "aaaaaaaaaaaa:5"})`))).toBe("usage");
    const history = await hub.ask(amina, `{ history(entity: ${entity(2)}, first: 1) { next versions { position values } } }`);
    expect(at(history, "history", "versions", 0, "values", "household_size")).toBe(3);
    const older = await hub.ask(
      amina,
      `{ history(entity: ${entity(2)}, after: "${String(at(history, "history", "next"))}") { next versions { values } } }`,
    );
    expect(at(older, "history", "versions", 0, "values", "household_size")).toBe(2);
  });

  it("of one id are there, or are null", async () => {
    const told = await hub.ask(
      amina,
      `{ rows { one: beneficiaries(id: "${number(1)}") { given_name } none: beneficiaries(id: "x") { id } theirs: beneficiaries(id: "${number(11)}") { id } } }`,
    );
    expect(told.data).toEqual({ rows: { one: { given_name: AMBER }, none: null, theirs: null } });
  });

  it("of several organisations, added up or joined, are for those who see them all; others are told why", async () => {
    for (const call of ["distribution_summary { rows { site quantity } total }", "names { rows }"]) {
      const refused = await hub.ask(amina, `{ views { ${call} } }`);
      expect(refused.errors[0]).toMatchObject({
        message: expect.stringContaining("rows of several organisations"),
        extensions: { code: "not-permitted" },
      });
      expect((await hub.ask(ruth, `{ views { ${call} } }`)).errors).toEqual([]);
    }
    const joined = await hub.ask(
      ruth,
      `{ views { names(where: [{column: "given_name", eq: "${BRICK}"}], sort: "id", descending: true, first: 1, count: true) { rows total } } }`,
    );
    expect(joined.data).toEqual({ views: { names: { rows: [{ id: number(13), given_name: BRICK }], total: 3 } } });
    expect(codeOf(await hub.ask(ruth, `{ views { names(where: [{column: "nobody", eq: 1}]) { rows } } }`))).toBe(
      "input-malformed",
    );
  });
});

describe("quarantined events", () => {
  it("come in pages, filtered and counted", async () => {
    const page = (more: string) => hub.ask(ruth, `{ quarantine(${more}) { total next events { name site state } } }`);
    const first = await page("first: 1, state: held");
    expect(first.data?.quarantine).toMatchObject({ total: 2, next: expect.any(String), events: [{ state: "held" }] });
    const second = await page(`first: 1, state: held, after: "${String(at(first, "quarantine", "next"))}"`);
    expect(second.data?.quarantine).toMatchObject({ total: 2, next: null });
    expect(at(second, "quarantine", "events", 0, "name")).not.toBe(at(first, "quarantine", "events", 0, "name"));
    expect((await page(`subject: "beneficiary-update", version: 9`)).data?.quarantine).toEqual({
      total: 0,
      next: null,
      events: [],
    });
    expect(at(await hub.ask(amina, "{ quarantine(first: 1) { total } }"), "quarantine", "total")).toBe(1);
  });
});

describe("what is known of an entity", () => {
  it("is told: decisions, story, the row folded again, the trail", async () => {
    const told = await hub.ask(
      ruth,
      `{ decisions(entity: ${entity(1)}) { decisions { view register rule isOpen losers { value } } }
         explain(entity: ${entity(1)}, field: "phone", view: "phones") { registers { register decision { isOpen } steps { event beside } } }
         rowAsOf(entity: ${entity(1)}, view: "phones") { values decisions { register } }
         trail(entity: ${entity(1)}) { events { type actor data } cases { rule state } } }`,
    );
    expect(told.errors).toEqual([]);
    expect(at(told, "decisions", "decisions")).toContainEqual({
      view: "phones",
      register: "phone",
      rule: "manual",
      isOpen: true,
      losers: [{ value: "+254700000001" }],
    });
    expect(at(told, "explain", 0, "registers", 0, "steps")).toHaveLength(2);
    expect(at(told, "rowAsOf", "decisions")).toEqual([{ register: "phone" }]);
    expect(at(told, "trail", "events")).toHaveLength(2);
    expect(at(told, "trail", "cases")).toEqual([{ rule: "phone", state: "open" }]);
  });

  it("is told of nobody's but one's own, in the same words as of what there is not", async () => {
    for (const call of [
      "decisions(entity: E) { through }",
      "explain(entity: E) { view }",
      "rowAsOf(entity: E) { values }",
      "history(entity: E) { view }",
      `register(entity: E, register: "phone") { form }`,
    ]) {
      const words = async (id: string) =>
        (await hub.ask(amina, `{ ${call.replace("E", `{type: "beneficiary", id: "${id}"}`)} }`)).text.replaceAll(id, "ID");
      const theirs = await words(number(11));
      expect(theirs).toBe(await words("TST-999999"));
      expect(theirs).toContain("not-found");
    }
  });
});
