import { get as httpGet } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { viewsSurface } from "../../services/api/index.ts";
import { ROLES, type Role } from "../../services/core/index.ts";
import { type Field, openField } from "../../services/field/index.ts";
import { issueToken } from "../../services/http/index.ts";
import { openApi, type TestApi, type Who } from "../support/api.ts";
import { gate, number, openTestHub, registration, type TestHub, update } from "../support/hub.ts";
import { eventually } from "../support/temp.ts";

let hub: TestHub;
let api: TestApi;
const fields: Field[] = [];
const COORDINATOR: Who = { org: "relief", roles: ["coordinator"] };
const OTHER: Who = { org: "health", roles: ["coordinator"] };
const ADMIN: Who = { org: "relief", roles: ["admin"] };
const PEOPLE = 30;

const send = async (org: string, write: (field: Field) => Promise<unknown>): Promise<void> => {
  const field = openField({ path: join(hub.dir, `${org}.db`), name: { org, site: "base", device: "t1" }, schemas: gate });
  fields.push(field);
  await write(field);
  const token = await issueToken(hub.key, { org, site: "base", lifetimeS: 3600, nowMs: Date.now() });
  await field.sync({ url: hub.backends.nats.url, token });
  await hub.projected();
};

beforeAll(async () => {
  hub = await openTestHub();
  await send("relief", async (field) => {
    for (let n = 0; n < PEOPLE; n++)
      await field.append(registration(number(n), { household_size: 1 + (n % 7), village: n % 2 ? "Katwe" : "Aru" }));
  });
  await send("health", async (field) => {
    await field.append(registration(number(100), { given_name: "Secret", village: 'say "so", twice' }));
  });
  api = await openApi(hub, ({ gate, reading }) => [
    viewsSurface({ gate, reading: reading("pages"), files: reading("files"), views: () => hub.projections, paceMs: 500 }),
  ]);
});
afterAll(async () => {
  for (const field of fields) field.close();
  await api?.[Symbol.asyncDispose]();
  await hub?.close();
});

const json = async (path: string, who: Who | null = COORDINATOR) => {
  const answer = await api.get(path, who);
  return {
    status: answer.status,
    body: (await answer.json()) as Record<string, unknown> & { rows: Record<string, unknown>[]; next: string | null },
  };
};

describe("the rows of a view", () => {
  it("come in pages that go on where the one before ended, each row once", async () => {
    const seen: unknown[] = [];
    for (let after: string | null = ""; after !== null; ) {
      const { body } = await json(
        `/v1/views/beneficiaries?sort=household_size:desc&limit=7&count=true${after === "" ? "" : `&after=${after}`}`,
      );
      expect(body.total).toBe(PEOPLE);
      seen.push(...body.rows.map(({ id }) => id));
      after = body.next;
    }
    expect(seen).toHaveLength(PEOPLE);
    expect(new Set(seen).size).toBe(PEOPLE);
  });

  it("are those that all conditions hold for, with the columns that are asked for", async () => {
    const where = ["household_size>=5", "village=Katwe"].map((each) => `where=${encodeURIComponent(each)}`).join("&");
    const { body } = await json(`/v1/views/beneficiaries?${where}&columns=household_size&sort=household_size`);
    expect(body.rows.length).toBeGreaterThan(0);
    for (const row of body.rows) {
      expect(Object.keys(row)).toEqual(["id", "household_size"]);
      expect(row.household_size).toBeGreaterThanOrEqual(5);
    }
  });

  it("are those of the asker's organisation, in pages and in files; the auditors and admins of the hub's own see all", async () => {
    expect((await json("/v1/views/beneficiaries?count=true", OTHER)).body).toMatchObject({
      total: 1,
      rows: [{ id: number(100) }],
    });
    expect((await json("/v1/views/beneficiaries?count=true", ADMIN)).body.total).toBe(PEOPLE + 1);
    const file = await (await api.get("/v1/views/beneficiaries?format=ndjson", COORDINATOR)).text();
    expect(file.trimEnd().split("\n")).toHaveLength(PEOPLE);
    expect(file).not.toContain("Secret");
    // An organisation of the same name, by a token that gives no role across.
    expect((await json("/v1/views/beneficiaries?count=true", { org: "health", roles: ["admin"] })).body.total).toBe(1);
  });

  it("are shown as they were known", async () => {
    const end = await hub.log.end();
    const before = new Date().toISOString();
    await send("relief", (field) => field.append(update(number(0), { village: "Moved" })));
    expect((await json(`/v1/views/beneficiaries?where=village=Moved&count=true`)).body.total).toBe(1);
    for (const moment of [String(end), before])
      expect((await json(`/v1/views/beneficiaries?where=village=Moved&count=true&as_of=${moment}`)).body.total).toBe(0);
  });

  it("have a tag that stays while they do", async () => {
    const path = "/v1/views/beneficiaries?limit=3";
    const first = await api.get(path, COORDINATOR);
    const tag = first.headers.get("etag")!;
    expect(first.headers.get("cache-control")).toBe("private, no-cache");
    const again = await api.get(path, COORDINATOR, { "if-none-match": `"other", ${tag}` });
    expect([again.status, await again.text()]).toEqual([304, ""]);
    await send("relief", (field) => field.append(update(number(1), { village: "Elsewhere" })));
    expect((await api.get(path, COORDINATOR, { "if-none-match": tag })).status).toBe(200);
  });

  it("are written as CSV and as NDJSON, by the parameter or by what the asker accepts", async () => {
    const csv = await api.get("/v1/views/beneficiaries?columns=id,village", OTHER, { accept: "text/csv" });
    expect(csv.headers.get("content-type")).toBe("text/csv; charset=utf-8; header=present");
    expect(await csv.text()).toBe(`id,village\r\n${number(100)},"say ""so"", twice"\r\n`);
    const none = await api.get("/v1/views/beneficiaries?format=ndjson&where=village=Nowhere", COORDINATOR);
    expect([none.status, await none.text()]).toEqual([200, ""]);
  });

  it("of several organisations in one are refused to whoever sees one, and not listed", async () => {
    for (const view of ["distribution_summary", "handouts"]) {
      expect(await json(`/v1/views/${view}`)).toMatchObject({ status: 403, body: { code: "not-permitted" } });
      expect((await json(`/v1/views/${view}`, ADMIN)).status).toBe(200);
    }
    const names = async (who: Who) => ((await json("/v1/views", who)).body.views as { name: string }[]).map(({ name }) => name);
    expect(await names(COORDINATOR)).not.toContain("handouts");
    expect(await names(ADMIN)).toContain("handouts");
  });
});

describe("a question that cannot be answered", () => {
  it.each([
    ["nope", 404, "not-found", /no view nope/],
    ["beneficiaries?where=nope=1", 400, "usage", /no column "nope"/],
    ["beneficiaries?where=household_size=many", 400, "usage", /holds whole numbers/],
    ["beneficiaries?where=household_size", 400, "usage", /^where/],
    ["beneficiaries?sort=given_name:up", 400, "usage", /up is not a direction/],
    ["beneficiaries?limit=0", 400, "usage", /limit/],
    ["beneficiaries?limit=1001", 400, "usage", /more than 1000/],
    ["beneficiaries?after=%25", 400, "usage", /after cannot be read/],
    ["beneficiaries?after=WzEsMl0", 400, "usage", /after cannot be read/],
    ["beneficiaries?as_of=yesterday", 400, "usage", /as_of is "yesterday"/],
    ["beneficiaries?as_of=x1:5", 400, "usage", /not a position/],
    ["beneficiaries?as_of=0000-01-01", 400, "usage", /as_of is/],
    ["beneficiaries?as_of=9999-12-31T23:59:59-14:00", 400, "usage", /as_of is/],
    ["beneficiaries?where=village=a%00b", 400, "usage", /U\+0000/],
    [
      `beneficiaries?sort=household_size&after=${Buffer.from('["abc","x"]').toString("base64url")}`,
      400,
      "input-malformed",
      /cannot be read/,
    ],
    [
      `beneficiaries?sort=registered_on&after=${Buffer.from('["abc","x"]').toString("base64url")}`,
      400,
      "input-malformed",
      /cannot be read/,
    ],
    [`beneficiaries?after=${Buffer.from('[null,"a\\u0000"]').toString("base64url")}`, 400, "input-malformed", /cannot be read/],
    ["beneficiaries?format=xml", 400, "usage", /format is "xml"/],
    ["beneficiaries?district=Lira", 400, "usage", /district is not known/],
    ["beneficiaries?format=csv&where=nope=1", 400, "usage", /no column "nope"/],
    ["beneficiaries?format=csv&after=WzEsMl0", 400, "usage", /after cannot be read/],
  ])("is refused in words, before anything is sent: %s", async (path, status, code, detail) => {
    const { status: got, body } = await json(`/v1/views/${path}`);
    expect([got, body.code]).toEqual([status, code]);
    expect(body.detail).toMatch(detail);
    expect(JSON.stringify(body)).not.toContain("--");
  });

  it.each(ROLES.map((role) => [role]))("is asked by whoever may read views, and by nobody else: %s", async (role: Role) => {
    const { status } = await json("/v1/views/beneficiaries", { org: "relief", roles: [role] });
    expect(status).toBe(200);
  });

  it("is not answered without a token, nor to somebody without a role", async () => {
    expect((await json("/v1/views/beneficiaries", null)).body).toMatchObject({ code: "token-missing" });
    expect((await json("/v1/views/beneficiaries", { org: "relief", roles: [] })).body).toMatchObject({ code: "right-missing" });
  });
});

describe("a file", () => {
  it("whose reader stops reading gives its connection back, and is cut off where it is slow", async () => {
    await hub.db.query(
      `INSERT INTO tributary.owner SELECT 'beneficiary', 'L' || n, 'relief', 1 FROM generate_series(1, 4000) n;
       INSERT INTO views.beneficiaries (id, village, deleted, conflicts, first_position, last_position, state)
       SELECT 'L' || n, repeat(md5(n::text), 300), false, 0, 1, 1, '{}' FROM generate_series(1, 4000) n`,
    );
    const begin = async (who: Who) => {
      const authorization = `Bearer ${await api.token(who)}`;
      return begun(authorization);
    };
    const begun = (authorization: string) =>
      new Promise<{ destroy(): void; resume(): void; ended: Promise<string> }>((resolve) => {
        httpGet(`${api.url}/v1/views/beneficiaries?format=csv`, { headers: { authorization } }, (answer) => {
          const ended = new Promise<string>((done) => {
            answer.once("end", () => done("whole"));
            answer.once("error", () => done("cut"));
            answer.once("close", () => done(answer.complete ? "whole" : "cut"));
          });
          answer.pause();
          resolve({ destroy: () => answer.destroy(), resume: () => answer.resume(), ended });
        });
      });
    const busy = async () =>
      Number(
        (await hub.db.query("SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'files' AND state <> 'idle'"))
          .rows[0].n,
      );
    const [left, slow] = [await begin(COORDINATOR), await begin(ADMIN)];
    expect(await busy()).toBe(2);
    // Who is gone before an answer begins leaves nothing behind either.
    const aborted = new AbortController();
    const gone = fetch(`${api.url}/v1/views/beneficiaries?format=csv`, {
      headers: { authorization: `Bearer ${await api.token(COORDINATOR)}` },
      signal: aborted.signal,
    });
    aborted.abort();
    await expect(gone).rejects.toThrow();
    left.destroy();
    // Both connections come back: one since nobody reads any more, one since its reader is too slow.
    await eventually("connections come back", async () => (await busy()) === 0);
    // Who does not read does not notice.
    slow.resume();
    expect(await slow.ended).toBe("cut");
    // A page ends where it is large enough.
    const large = await json("/v1/views/beneficiaries?limit=1000&where=id~L");
    expect(large.body.rows.length).toBeLessThan(400);
    expect(large.body.next).not.toBeNull();
    const rows = (await (await api.get("/v1/views/beneficiaries?format=csv&columns=id", COORDINATOR)).text())
      .trimEnd()
      .split("\r\n");
    expect(rows).toHaveLength(1 + PEOPLE + 4_000);
  });
});
