import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NODE_FLAGS, ROOT } from "../../services/cli/program.ts";
import type { Choice } from "../../services/client/index.ts";
import { type ApiTestHub, OTHER, openApiTestHub } from "../support/api-hub.ts";
import { number, ORG, update } from "../support/hub.ts";
import { WAIT_MS } from "../support/patience.ts";

let hub: ApiTestHub;
let amina: string;
let hana: string;
beforeAll(async () => {
  hub = await openApiTestHub();
  amina = await hub.person(ORG, "coordinator", "amina");
  hana = await hub.person(OTHER, "coordinator", "hana");
});
afterAll(() => hub?.close());

/** Runs a part of the web application as a program of its own, which has an address and a token and nothing else. */
async function app<A>(token: string, ...args: readonly string[]): Promise<A> {
  const env = { ...process.env, HUB_URL: hub.url, HUB_TOKEN: token, WAIT_MS: String(WAIT_MS) };
  const { stdout } = await promisify(execFile)(process.execPath, [...NODE_FLAGS, join(ROOT, "test/webapp/main.ts"), ...args], {
    env,
  });
  return JSON.parse(stdout) as A;
}
interface Waiting {
  readonly id: string;
  readonly subject: string;
  readonly rule: string;
  readonly choices: readonly Choice[];
}
const [NEW, SEEN, RINGS] = ["+254700000801", "+254700000802", "+254700000803"] as const;
const person = number(80);

describe("a web application, with an address and a token", () => {
  it("registers a person, and reads the register as of before and as of after", async () => {
    const told = await app<{ event: { origin: string; quarantined: null }; before: null; after: object }>(
      amina,
      "register",
      person,
      NEW,
    );
    expect(told.event).toMatchObject({ origin: expect.stringMatching(/^relief\.programs\.api\./), quarantined: null });
    expect(told.before).toBeNull();
    expect(told.after).toEqual({ given_name: "Achol", phone: NEW });
    expect(await app(amina, "me")).toMatchObject({ subject: "amina", org: ORG, roles: ["coordinator"] });
  });

  it("subscribes to what it shows, and is told of what was written", async () => {
    await app(amina, "register", number(81), "+254700000811");
    expect(await app(amina, "follow", number(81), "+254700000812")).toEqual([{ id: number(81), phone: "+254700000812" }]);
  });

  it("sees that a device and a colleague wrote at the same time, and decides it in its user's name", async () => {
    expect(await app<Waiting[]>(amina, "waiting")).toEqual([]);
    await hub.send(ORG, [update(person, { phone: SEEN })]);
    await app(amina, "correct", person, RINGS);
    await hub.projected();
    const [found, ...others] = await app<Waiting[]>(amina, "waiting");
    expect(others).toEqual([]);
    expect(found).toMatchObject({ subject: person, rule: "phone" });
    const choices = found?.choices ?? [];
    expect(choices.map(({ value }) => value).toSorted()).toEqual([SEEN, RINGS]);
    const pick = choices.find(({ value }) => value === SEEN)?.pick ?? "";

    // Before it is decided, the coordinator of another organisation finds nothing, and decides nothing.
    const nothing = {
      ...{ rows: [], total: 0, asked: 0, pages: [], row: null, cases: 0, case: null, quarantine: 0 },
      ...{ history: "not-found", decisions: "not-found", explain: "not-found", decide: "not-found" },
    };
    expect(await app(hana, "find", person, found?.id ?? "")).toEqual(nothing);
    expect(await app(hana, "waiting")).toEqual([]);
    expect(await app(amina, "find", person, "0123456789ab")).toMatchObject({
      rows: [person, number(81)],
      total: 2,
      asked: 1,
      pages: expect.arrayContaining([person, number(81)]),
      cases: 1,
      history: null,
    });

    expect(await app(amina, "settle", found?.id ?? "", pick)).toEqual({ value: SEEN, phone: SEEN, name: "Achol" });
    expect(await app(amina, "waiting")).toEqual([]);
    // The log says who decided.
    const trail = await hub.ask(
      await hub.person(ORG, "auditor"),
      `{ trail(entity: {type: "beneficiary", id: "${person}"}) { events { type actor } } }`,
    );
    expect(trail.data).toMatchObject({
      trail: {
        events: expect.arrayContaining([
          { type: "beneficiary.registered", actor: "amina" },
          { type: "conflict.resolved", actor: "amina" },
        ]),
      },
    });
    expect(await app(hana, "find", person, found?.id ?? "")).toEqual(nothing);
  });
});
