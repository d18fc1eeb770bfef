import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describedBy } from "../../services/api/graphql/descriptions.ts";
import { rightOf } from "../../services/api/graphql/rights.ts";
import { makeSchema } from "../../services/api/graphql/schema.ts";
import { DEFAULT_MATRIX, ROLES, type Role, rightsAt, viewerOf } from "../../services/core/index.ts";
import { AMBER, type ApiTestHub, BRICK, fill, OTHER, openApiTestHub, type Told } from "../support/api-hub.ts";
import { type Question, questionsOf, type Target } from "../support/graphql-questions.ts";
import { number, ORG, registration, update } from "../support/hub.ts";
import { eventually } from "../support/temp.ts";

let hub: ApiTestHub;
let questions: readonly Question[];
const people = new Map<string, string>();
const targets = new Map<string, Target>();
const NOWHERE: Target = {
  entity: "TST-999999",
  case: "0123456789ab",
  event: "relief.base.t1.nobody/0",
  site: "nowhere",
  org: ORG,
};

const nameOf = ({ root, name }: Question): string => `${root}.${name}`;
const tokenOf = (org: string, role: Role): string => people.get(`${org} ${role}`) ?? "";
const targetOf = (org: string): Target => targets.get(org) ?? NOWHERE;
const ask = (org: string, role: Role, question: Question, at: Target): Promise<Told> =>
  hub.ask(tokenOf(org, role), question.text(at));
const codesOf = ({ errors }: Told): readonly (string | undefined)[] => errors.map(({ extensions }) => extensions?.code);
const may = (org: string, role: Role, { root, name }: Question): boolean => {
  const right = rightOf(root, name);
  return right == null || rightsAt({ org, roles: [role], hub: ORG }, DEFAULT_MATRIX).includes(right);
};
const seesAll = (org: string, role: Role): boolean => viewerOf({ org, roles: [role], hub: ORG }).orgs === null;
/** Roles of an organisation that see its rows only. */
const within = (org: string): readonly Role[] => ROLES.filter((role) => !seesAll(org, role));

async function eventsInLog(): Promise<number> {
  let count = 0;
  for await (const _ of hub.log.readAll()) count++;
  return count;
}

beforeAll(async () => {
  hub = await openApiTestHub({ limits: { maxDepth: 20, maxCost: 10_000_000, maxTokens: 10_000 } });
  await fill(hub);
  questions = questionsOf(makeSchema(hub.projections, describedBy(hub.gate)));
  for (const org of [ORG, OTHER]) for (const role of ROLES) people.set(`${org} ${role}`, await hub.person(org, role));
  for (const [org, first] of [
    [ORG, 1],
    [OTHER, 11],
  ] as const) {
    const { rows } = await hub.db.query<{ id: string; event: string }>(
      `SELECT c.id, q.origin || '/' || q.seq AS event FROM tributary.case c, tributary.quarantine q
       WHERE c.subject = $1 AND split_part(q.origin, '.', 1) = $2`,
      [number(first), org],
    );
    targets.set(org, { entity: number(first), case: rows[0]?.id ?? "", event: rows[0]?.event ?? "", site: "base", org });
  }
});
afterAll(() => hub?.close());

/** `Query.case` takes a case's id where rows take an entity's. */
const pointed = (question: Question, at: Target): Target =>
  question.root === "Query" && question.name === "case" ? { ...at, entity: "" } : at;

describe("each field of the schema (I44)", () => {
  it("is asked for with what it takes: no question is refused as none", async () => {
    expect(questions.length).toBeGreaterThan(50);
    for (const question of questions)
      expect([nameOf(question), codesOf(await ask(ORG, "admin", question, NOWHERE))]).not.toEqual([
        nameOf(question),
        expect.arrayContaining(["input-malformed"]),
      ]);
  });

  it.each([ORG, OTHER])("is answered to those people of %s who have its right, and to others nothing is read", async (org) => {
    for (const role of ROLES)
      for (const question of questions) {
        const before = hub.asks();
        const told = await ask(org, role, question, pointed(question, { ...NOWHERE, org }));
        const isRefused = codesOf(told).includes("right-missing");
        expect([role, nameOf(question), isRefused]).toEqual([role, nameOf(question), !may(org, role, question)]);
        if (isRefused) expect([nameOf(question), hub.asks()]).toEqual([nameOf(question), before]);
      }
  });

  it("shows what belongs to another organisation to those who see all, and to nobody else", async () => {
    const shown = new Set<string>();
    for (const question of questions.filter(({ writes }) => !writes))
      if ((await ask(ORG, "admin", question, pointed(question, targetOf(OTHER)))).text.includes(BRICK))
        shown.add(nameOf(question));
    // So that what follows can fail.
    expect([...shown]).toEqual(
      expect.arrayContaining([
        ...["Views.beneficiaries", "Views.phones", "Views.names", "Rows.beneficiaries", "Query.history", "Query.explain"],
        ...[
          "Query.rowAsOf",
          "Query.trail",
          "Query.quarantine",
          "Query.quarantined",
          "Query.case",
          "Query.parked",
          "Query.proposals",
          "Query.replicas",
        ],
      ]),
    );
    const before = await eventsInLog();
    for (const [org, other, word] of [
      [ORG, OTHER, BRICK],
      [OTHER, ORG, AMBER],
    ] as const)
      for (const role of within(org))
        for (const question of questions) {
          // Those who may register a schema read who proposes it.
          if (question.name === "proposals" && may(org, role, { ...question, root: "Query", name: "checkSchema" })) continue;
          const told = await ask(org, role, question, pointed(question, targetOf(other)));
          expect([org, role, nameOf(question), told.text.includes(word)]).toEqual([org, role, nameOf(question), false]);
          if (question.writes)
            expect([org, role, nameOf(question), told.errors.length]).toEqual([
              org,
              role,
              nameOf(question),
              question.name === "retryParked" && may(org, role, question) ? 0 : 1,
            ]);
        }
    expect(await eventsInLog()).toBe(before);
  });

  it("tells nobody what another organisation does meanwhile, not by a number either", async () => {
    const answers = async (): Promise<ReadonlyMap<string, unknown>> => {
      const out = new Map<string, unknown>();
      for (const question of questions.filter(({ writes, name }) => !writes && name !== "status"))
        for (const at of [targetOf(OTHER), targetOf(ORG)])
          out.set(
            `${nameOf(question)} ${at.org}`,
            withoutPositions((await ask(OTHER, "auditor", question, pointed(question, at))).data),
          );
      return out;
    };
    // What was asked to be folded again is, and stands still.
    await eventually(
      "what is parked to be folded again",
      async () => (await hub.db.query("SELECT FROM tributary.refold")).rowCount === 0,
    );
    const before = await answers();
    await hub.send(ORG, [
      registration(number(4), { given_name: AMBER, phone: "+254700000004" }),
      update(number(1), { household_size: 8 }),
    ]);
    await hub.send(ORG, [update(number(5), { household_size: 901 })], { keepsInvalid: true });
    await hub.ask(tokenOf(ORG, "coordinator"), `mutation { assignCase(case: "${targetOf(ORG).case}", to: "somebody") { type } }`);
    await hub.projected();
    for (const [name, answer] of await answers()) expect([name, answer]).toEqual([name, before.get(name)]);
  });
});

/** How far the hub has come moves with whatever is folded. */
function withoutPositions(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutPositions);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name]) => name !== "through")
      .map(([name, each]) => [name, withoutPositions(each)]),
  );
}
