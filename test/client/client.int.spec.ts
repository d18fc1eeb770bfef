import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { client, HubError } from "../../services/client/index.ts";
import { type ApiTestHub, fill, OTHER, openApiTestHub } from "../support/api-hub.ts";
import { number, ORG, update } from "../support/hub.ts";
import { eventually } from "../support/temp.ts";
import type { Hub } from "../webapp/register.ts";
import type { Tributary } from "../webapp/tributary.d.ts";

let door: ApiTestHub;
let amina: Hub;
let ruth: Hub;
let hana: Hub;
beforeAll(async () => {
  door = await openApiTestHub();
  await fill(door);
  const person = async (org: string, role: "coordinator" | "admin", name: string): Promise<Hub> => {
    const token = await door.person(org, role, name);
    return client<Tributary>(door.url, { token });
  };
  amina = await person(ORG, "coordinator", "amina");
  ruth = await person(ORG, "admin", "ruth");
  hana = await person(OTHER, "coordinator", "hana");
});
afterAll(() => door?.close());

const entity = (n: number) => ({ type: "beneficiary", id: number(n) });
const refusal = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => null,
    (error: unknown) => error,
  );

describe("a client that follows", () => {
  /** Sockets that the client has opened. */
  const opened: WebSocket[] = [];
  const Real = globalThis.WebSocket;
  beforeAll(() => {
    globalThis.WebSocket = class extends Real {
      constructor(...given: ConstructorParameters<typeof WebSocket>) {
        super(...given);
        opened.push(this);
      }
    };
  });
  afterAll(() => {
    globalThis.WebSocket = Real;
  });

  it("is told what changes, goes on where it was when its link is lost, and misses and repeats nothing", async () => {
    const stop = new AbortController();
    const phones: unknown[] = [];
    const others: string[] = [];
    const following = (async () => {
      for await (const told of amina.view("phones").live({ select: ["id", "phone"], signal: stop.signal }))
        if (told.kind === "rows") {
          phones.push(...told.rows.filter(({ id }) => id === number(1)).map(({ phone }) => phone));
          others.push(...told.rows.map(({ id }) => id).filter((id) => id === number(11)));
        }
    })();
    await eventually("it follows", async () => opened.at(-1)?.readyState === WebSocket.OPEN);
    const wanted: string[] = [];
    for (let n = 0; n < 5; n++) {
      const phone = `+25470000090${n}`;
      wanted.push(phone);
      // Also while there is no link.
      if (n % 2 === 1) opened.at(-1)?.close();
      await door.send(ORG, [update(number(1), { phone })]);
      await door.send(OTHER, [update(number(11), { phone })]);
      await eventually(`${phone} is told`, async () => phones.includes(phone));
    }
    expect(phones).toEqual(wanted);
    expect(others).toEqual([]);
    expect(opened.length).toBeGreaterThanOrEqual(3);
    stop.abort();
    await following;
  });

  it("is told why it may not follow", async () => {
    const field = client<Tributary>(door.url, { token: await door.person(ORG, "field", "ann") });
    const first = async (told: AsyncIterable<unknown>): Promise<unknown> => {
      for await (const each of told) return each;
    };
    await expect(first(field.casesChanged())).rejects.toMatchObject({ name: "HubError", code: "right-missing" });
    await expect(first(field.view("beneficiaries").live({ from: "nonsense" }))).rejects.toMatchObject({
      code: "input-malformed",
    });
    await expect(first(amina.view("names").live())).rejects.toMatchObject({ code: "not-permitted" });
    let asked = 0;
    const forged = client<Tributary>(door.url, { token: () => `forged.${++asked}.token` });
    await expect(first(forged.conflictsOpened())).rejects.toMatchObject({ code: "token-invalid" });
    expect(asked).toBe(2);
    expect(await first(amina.syncsCompleted())).toMatchObject({ kind: "standing" });
  });
});

describe("a client of a real hub", () => {
  it("is shown rows by conditions of each kind, sorted, counted, and in pages", async () => {
    const people = amina.view("beneficiaries");
    const { rows, total, next, through } = await people.rows({
      where: { household_size: { ge: 3 }, given_name: { contains: "AMBER" }, birth_date: { isNull: true } },
      ...{ sort: "household_size" as const, descending: true, first: 1, count: true },
    });
    expect([rows.map(({ id, household_size }) => [id, household_size]), total]).toEqual([[[number(3), 9]], 2]);
    expect(rows[0]).toMatchObject({ registered_on: "2026-01-05", deleted: false, conflicts: 0, waiting_for: null });
    expect(through).toMatch(/^\d+$/);
    expect(next).not.toBeNull();
    const ids: string[] = [];
    for await (const page of people.all({ select: ["id"], first: 1, asOf: { position: through ?? "" } }))
      ids.push(...page.rows.map(({ id }) => id));
    expect(ids).toEqual([1, 2, 3].map(number));
    expect(await people.row(number(2), { select: ["phone"] })).toEqual({ phone: "+254700000077" });
    expect(await people.row("nobody")).toBeNull();
    // What a view of all organisations' rows has, its database alone knows.
    const joined = await ruth
      .view("names")
      .rows({ where: { id: { in: [number(1), number(11)] }, given_name: { ne: "nobody" } }, count: true });
    expect(joined.total).toBe(2);
    expect(await refusal(amina.view("names").rows())).toMatchObject({ code: "not-permitted", status: 200 });
    expect((await ruth.view("stock_ledger").rows({ where: { balance: { lt: 0 } } })).rows).toEqual([]);
  });

  it("is told how rows came to be what they are", async () => {
    const history = await amina.history(entity(1), { view: "phones", first: 1 });
    expect(history).toMatchObject({ view: "phones", next: expect.any(String) });
    expect((await amina.history(entity(1), { view: "phones", after: history.next })).versions.length).toBeGreaterThan(0);
    const { decisions } = await amina.decisions(entity(1));
    expect(decisions.find(({ view }) => view === "phones")).toMatchObject({ register: "phone", isOpen: true });
    const [story] = await amina.explain(entity(1), { field: "phone", view: "phones" });
    expect(story?.registers[0]?.decision?.losers).toHaveLength(1);
    expect((await amina.register(entity(1), "phone")).values).toHaveLength(2);
  });

  it("decides: cases and registers, in its user's name", async () => {
    const { cases } = await amina.cases({ state: "open", unassigned: true });
    const [phone, broken] = ["phone", "not_zero"].map((rule) => cases.find((each) => each.rule === rule)?.id ?? "");
    expect(await amina.assign(phone ?? "", "amina", { note: "mine" })).toMatchObject({ type: "case.assigned" });
    expect(await amina.comment(phone ?? "", "asked her")).toMatchObject({ type: "case.commented" });
    expect(await amina.accept(broken ?? "", "no phone at all")).toMatchObject({ type: "case.accepted" });
    await door.projected();
    expect(await refusal(hana.decide(phone ?? "", { value: "+254700000009" }))).toMatchObject({ code: "not-found" });
    expect(await amina.decideRegister(entity(1), "phone", { value: "+254700000005", note: "a third one" })).toMatchObject({
      value: "+254700000005",
    });
    await door.projected();
    expect((await amina.cases({ state: "open" })).cases).toEqual([]);
    expect((await amina.case(phone ?? ""))?.notes.map(({ kind }) => kind)).toEqual(expect.arrayContaining(["assigned"]));
    expect(await amina.view("phones").row(number(1), { select: ["phone", "conflicts"] })).toEqual({
      phone: "+254700000005",
      conflicts: 0,
    });
  });

  it("settles what is in quarantine", async () => {
    const [held] = (await amina.quarantine.list({ state: "held" })).events;
    const name = held?.name ?? "";
    expect((await amina.quarantine.look(name)).problems[0]?.message).toContain("household_size");
    expect(await amina.quarantine.release([name], { dryRun: true })).toMatchObject({
      dryRun: true,
      held: [{ problem: expect.any(String) }],
    });
    expect(
      await amina.quarantine.release([name], { changes: [{ field: "household_size", value: 9 }], note: "a slip" }),
    ).toMatchObject({ released: [name] });
    const [theirs] = (await hana.quarantine.list({ state: "held" })).events;
    expect(await hana.quarantine.reject([theirs?.name ?? ""], "no such household")).toEqual([theirs?.name]);
  });

  it("asks for anything else by a document of its own, and is told what the hub refuses", async () => {
    const { policies } = await amina.query<{ readonly policies: readonly { readonly name: string }[] }>("{ policies { name } }");
    expect(policies).toEqual([]);
    const checked = await ruth.query("query ($subject: String!) { subject(name: $subject) { name } }", {
      subject: "beneficiary",
    });
    expect(checked).toEqual({ subject: { name: "beneficiary" } });
    const refused = await refusal(amina.query('mutation { registerSchema(subject: "x", kind: json, text: "{}") { outcome } }'));
    expect(refused).toBeInstanceOf(HubError);
    expect(refused).toMatchObject({ code: "right-missing", status: 200, hint: expect.stringMatching(/./) });
    expect(await refusal(amina.query("{ nothing }"))).toMatchObject({ code: "input-malformed" });
    expect(await refusal(client(door.url, { token: "no" }).me())).toMatchObject({ code: "token-invalid", status: 401 });
  });
});
