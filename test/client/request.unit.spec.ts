import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { client, HubError } from "../../services/client/index.ts";

interface Asked {
  readonly token: string;
  readonly query: string;
  readonly variables: Readonly<Record<string, unknown>>;
  readonly path: string;
}
interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: unknown;
}

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function textOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
}

/** A door that answers as it is told, and keeps what it was asked. `null`: it never answers. */
async function door(
  answer: (asked: Asked, count: number) => Answer | null,
): Promise<{ readonly url: string; readonly asked: Asked[] }> {
  const asked: Asked[] = [];
  const server = createServer(async (request, response) => {
    const { query, variables } = JSON.parse((await textOf(request)) || "{}") as Pick<Asked, "query" | "variables">;
    const token = request.headers.authorization?.replace("Bearer ", "") ?? "";
    asked.push({ token, query, variables, path: request.url ?? "" });
    const told = answer(asked.at(-1) as Asked, asked.length);
    if (told === null) return;
    response.writeHead(told.status ?? 200, { "content-type": "application/json", ...told.headers });
    response.end(typeof told.body === "string" ? told.body : JSON.stringify(told.body));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

const problem = (status: number, code: string, headers: Readonly<Record<string, string>> = {}): Answer => ({
  status,
  headers,
  body: { type: `urn:tributary:problem:${code}`, status, detail: `what ${code} means`, hint: "what to do", code },
});
const told = (data: unknown): Answer => ({ body: { data } });
const me = told({ me: { subject: "amina" } });
const noted = told({ commentCase: { case: "c", type: "case.commented", data: {} } });

/** What a call was refused with. */
const refusal = async (call: Promise<unknown>): Promise<HubError> => {
  const error: unknown = await call.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (error instanceof HubError) return error;
  throw new Error(`not refused by a HubError: ${String(error)}`);
};

describe("a question to a hub", () => {
  it("goes to the path of GraphQL below the address, with the token, and no more than once when it is answered", async () => {
    const { url, asked } = await door(() => me);
    expect(await client(`${url}/below/`, { token: "t1" }).me()).toEqual({ subject: "amina" });
    expect(asked.map(({ token, path }) => [token, path])).toEqual([["t1", "/below/graphql"]]);
  });

  it("is refused with code, hint and status, whether the hub refused all of it or a part", async () => {
    const part = {
      body: { data: { case: null }, errors: [{ message: "no", extensions: { code: "right-missing", hint: "ask the admin" } }] },
    };
    for (const [answer, code, status, hint, message] of [
      [part, "right-missing", 200, "ask the admin", "no"],
      [problem(403, "not-permitted"), "not-permitted", 403, "what to do", "what not-permitted means"],
      [
        { status: 413, body: { errors: [{ message: "long", extensions: { code: "batch-too-large", hint: "less" } }] } },
        "batch-too-large",
        413,
        "less",
        "long",
      ],
      [
        { status: 404, body: "<html>not here</html>" },
        "internal",
        404,
        expect.any(String),
        "the answer (status 404) is not a hub's",
      ],
      [
        { status: 200, body: "<html>log in</html>" },
        "internal",
        200,
        expect.any(String),
        "the answer (status 200) is not a hub's",
      ],
      [{ status: 200, body: { data: null } }, "internal", 200, expect.any(String), expect.any(String)],
    ] as const) {
      const { url } = await door(() => answer);
      expect(await refusal(client(url, { token: "t" }).case("c"))).toMatchObject({ code, status, hint, message });
    }
  });

  it("is not sent along to where an answer points: the token goes to the hub alone", async () => {
    const elsewhere = await door(() => me);
    const { url, asked } = await door(() => ({ status: 307, headers: { location: `${elsewhere.url}/graphql` }, body: "" }));
    expect(await refusal(client(url, { token: "t" }).comment("c", "x"))).toMatchObject({
      code: "backend-unreachable",
      status: 0,
    });
    expect([asked.length, elsewhere.asked.length]).toEqual([1, 0]);
  });

  it("is refused at once for an address, a token or a name that cannot be meant", async () => {
    for (const url of ["hub.example.org", "ftp://hub", "https://me:secret@hub", "https://hub/?a=1", ""])
      expect(() => client(url, { token: "t" })).toThrow(HubError);
    expect(() => client("https://hub", { token: "t", timeoutMs: 0 })).toThrow("timeoutMs");
    const { url, asked } = await door(() => me);
    const bad = await refusal(client(url, { token: "sec\nret" }).me());
    expect(bad.code).toBe("token-missing");
    expect(`${bad.message} ${bad.hint} ${String(bad.cause)}`).not.toContain("sec");
    expect(() => client(url, { token: "t" }).view("people { id } evil: beneficiaries")).toThrow("is not the name of a view");
    const columns = client(url, { token: "t" })
      .view("people")
      .rows({ select: ["id } } me { org"] });
    expect((await refusal(columns)).message).toContain("is not the name of a column");
    expect(asked).toEqual([]);
  });

  it("ends when whoever asks ends it, and when no answer comes", async () => {
    const { url } = await door(() => null);
    const ended = new AbortController();
    const hub = client(url, { token: "t" });
    const asking = hub.me({ signal: ended.signal });
    ended.abort(new Error("the page was closed"));
    await expect(asking).rejects.toThrow("the page was closed");
    const closed = AbortSignal.abort(new Error("it was closed before"));
    for (const late of [hub.comment("c", "x", { signal: closed }), hub.me({ signal: closed })])
      await expect(late).rejects.toThrow("it was closed before");
    expect(await refusal(client(url, { token: "t", timeoutMs: 50 }).comment("c", "x"))).toMatchObject({
      code: "backend-unreachable",
      message: "the hub has not answered within 0.05 s",
    });
  });
});

describe("what the hub cannot answer just now", () => {
  it("is read once more, after the time that the hub names", async () => {
    for (const [status, code] of [
      [503, "backend-unreachable"],
      [429, "too-many-requests"],
    ] as const) {
      const { url, asked } = await door((_, count) => (count === 1 ? problem(status, code, { "retry-after": "0" }) : me));
      expect(await client(url, { token: "t" }).me()).toEqual({ subject: "amina" });
      expect(asked).toHaveLength(2);
    }
    const still = await door(() => problem(503, "backend-unreachable", { "retry-after": "0" }));
    expect((await refusal(client(still.url, { token: "t" }).me())).code).toBe("backend-unreachable");
    expect(still.asked).toHaveLength(2);
  });

  it("is waited for as long as the hub asks, in seconds or until a date, and not where that is long", async () => {
    const { url, asked } = await door((_, count) =>
      count === 1 ? problem(429, "too-many-requests", { "retry-after": "1" }) : me,
    );
    const began = performance.now();
    await client(url, { token: "t" }).me();
    expect(performance.now() - began).toBeGreaterThan(990);
    expect(asked).toHaveLength(2);
    const past = await door((_, count) =>
      count === 1 ? problem(503, "backend-unreachable", { "retry-after": new Date(0).toUTCString() }) : me,
    );
    await client(past.url, { token: "t" }).me();
    const long = await door(() => problem(429, "too-many-requests", { "retry-after": "3600" }));
    expect((await refusal(client(long.url, { token: "t" }).me())).code).toBe("too-many-requests");
    expect(long.asked).toHaveLength(1);
  });

  it("is never written twice, and nothing else is asked twice", async () => {
    const away = await door(() => problem(503, "backend-unreachable", { "retry-after": "0" }));
    const hub = client(away.url, { token: "t" });
    for (const write of [
      hub.comment("c", "x"),
      hub.append({ type: "a.b", entity: { type: "a", id: "1" }, data: {} }),
      hub.decide("c", { pick: "1" }),
      hub.quarantine.reject(["x/1"], "no"),
      hub.query('fragment F on Me { org } mutation { removePolicy(name: "x") }'),
    ])
      expect((await refusal(write)).code).toBe("backend-unreachable");
    expect(away.asked).toHaveLength(5);
    const refused = await door(() => problem(403, "right-missing"));
    await refusal(client(refused.url, { token: "t" }).me());
    expect(refused.asked).toHaveLength(1);
  });
});

describe("a token that is asked for", () => {
  it("is asked for once, and again when it is refused once; also a write is then sent with the other one", async () => {
    const { url, asked } = await door(({ token }) => (token === "t1" ? problem(401, "token-expired") : noted));
    let count = 0;
    const hub = client(url, { token: async () => `t${++count}` });
    expect(await hub.comment("c", "x")).toMatchObject({ type: "case.commented" });
    expect(asked.map(({ token }) => token)).toEqual(["t1", "t2"]);
    await hub.comment("c", "y");
    expect(asked.map(({ token }) => token)).toEqual(["t1", "t2", "t2"]);
    expect(count).toBe(2);
  });

  it("is asked for once where many questions are refused at the same time", async () => {
    const { url, asked } = await door(({ token }) => (token === "t1" ? problem(403, "revoked") : me));
    let count = 0;
    const hub = client(url, { token: () => `t${++count}` });
    await Promise.all(Array.from({ length: 20 }, () => hub.me()));
    expect(count).toBe(2);
    expect(asked.filter(({ token }) => token === "t1")).toHaveLength(20);
  });

  it("is not asked for without end: the second refusal is told, and the next question asks for one again", async () => {
    const { url, asked } = await door(() => problem(401, "token-expired"));
    let count = 0;
    const hub = client(url, { token: () => `t${++count}` });
    expect(await refusal(hub.me())).toMatchObject({ code: "token-expired", status: 401 });
    expect(asked.map(({ token }) => token)).toEqual(["t1", "t2"]);
    const fixed = client(url, { token: "same" });
    await refusal(fixed.me());
    expect(asked.filter(({ token }) => token === "same")).toHaveLength(1);
  });

  it("that could not be had is told as it was thrown, and is asked for by the next question", async () => {
    const { url } = await door(() => me);
    let count = 0;
    const hub = client(url, {
      token: () => {
        if (++count === 1) throw new Error("nobody is signed in");
        return "t";
      },
    });
    await expect(hub.me()).rejects.toThrow("nobody is signed in");
    expect(await hub.me()).toEqual({ subject: "amina" });
  });
});

describe("rows of a view", () => {
  const fields = { row: { fields: [{ name: "id" }, { name: "village" }] }, page: { name: "StockLedgerPage" } };
  const page = (id: string, next: string | null) => ({
    views: { page: { rows: [{ id, village: null }], next, total: null, through: "5" } },
  });

  it("have the columns that the hub declares, which is asked once, or those that are selected", async () => {
    const { url, asked } = await door(({ query }) =>
      told(query.includes("__type") ? fields : { ...page("a", null), rows: { row: null } }),
    );
    const hub = client(url, { token: "t" });
    const view = hub.view("stock_ledger");
    const where = { id: { eq: "a", ne: undefined } };
    await Promise.all([
      view.rows(),
      view.rows({ where, sort: "village", descending: true, first: 2, after: "x", asOf: { position: "7" }, count: true }),
    ]);
    await view.rows({ select: ["id"] });
    await hub.view("stock_ledger").row("a");
    expect(asked.filter(({ query }) => query.includes("__type")).map(({ variables }) => variables)).toEqual([
      { row: "StockLedgerRow", page: "StockLedgerPage" },
    ]);
    const [plain, full, selected] = asked.filter(({ query }) => !query.includes("__type"));
    expect(plain?.query).toBe("query rows { views { page: stock_ledger { rows { id village } next total through } } }");
    expect(full?.query).toContain(
      "($where: StockLedgerWhere, $sort: StockLedgerSort, $descending: Boolean, $first: Int, $after: String, $asOf: Moment, $count: Boolean)",
    );
    expect(full?.variables).toEqual({
      where: { id: { eq: "a" } },
      sort: "village",
      descending: true,
      first: 2,
      after: "x",
      asOf: { position: "7" },
      count: true,
    });
    expect(selected?.query).toContain("rows { id } next");
  });

  it("come page after page, each when it is asked for", async () => {
    const { url, asked } = await door(({ variables }) => told(variables.after === "2" ? page("b", null) : page("a", "2")));
    const ids: unknown[] = [];
    for await (const { rows } of client(url, { token: "t" })
      .view("people")
      .all({ select: ["id"] })) {
      ids.push(...rows.map(({ id }) => id));
      expect(asked).toHaveLength(ids.length);
    }
    expect(ids).toEqual(["a", "b"]);
  });

  it("of a view that only the database knows are asked for by conditions with the column's name", async () => {
    const { url, asked } = await door(({ query }) =>
      told(query.includes("__type") ? { row: null, page: { name: "HandoutsPage" } } : page("a", null)),
    );
    const view = client(url, { token: "t" }).view("handouts");
    await view.rows({ where: { item: { eq: "SOAP" }, quantity: { gt: 1, le: 5 } }, sort: "item" });
    expect(asked[1]?.query).toBe(
      "query rows($where: [ColumnCondition!], $sort: String) { views { page: handouts(where: $where, sort: $sort) { rows next total through } } }",
    );
    expect(asked[1]?.variables.where).toEqual([
      { column: "item", eq: "SOAP" },
      { column: "quantity", gt: 1 },
      { column: "quantity", le: 5 },
    ]);
    expect((await refusal(view.row("x"))).code).toBe("usage");
  });

  it("of a view that the hub does not have are not found; what a view is declared with is looked up again after a refusal", async () => {
    const none = await door(() => told({ row: null, page: null }));
    expect(await refusal(client(none.url, { token: "t" }).view("nothing").rows())).toMatchObject({ code: "not-found" });
    let isOld = true;
    const { url } = await door(({ query }) => {
      if (query.includes("__type")) return told(isOld ? fields : { ...fields, row: { fields: [{ name: "id" }] } });
      if (query.includes("village"))
        return { status: 400, body: { errors: [{ message: "no village", extensions: { code: "input-malformed", hint: "" } }] } };
      return told({ rows: { row: { id: "a" } } });
    });
    const view = client(url, { token: "t" }).view("people");
    expect((await refusal(view.row("a"))).code).toBe("input-malformed");
    isOld = false;
    expect(await view.row("a")).toEqual({ id: "a" });
  });
});
