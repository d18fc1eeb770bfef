import { expect, it } from "vitest";
import { readPolicy } from "../../services/desk/index.ts";

const GOOD = { name: "x", for: { sites: ["juba"] }, entities: { beneficiary: {} } };
const of = (entity: unknown) => ({ ...GOOD, entities: { beneficiary: entity } });

it("what is wrong with a policy's file is told by member, with what the member must be", () => {
  for (const [given, told] of [
    [[], "the policy must be an object"],
    [{}, "name is missing; for must be"],
    [{ ...GOOD, name: "X Y" }, "name is a name of small letters"],
    [{ ...GOOD, for: "all" }, 'for must be "everyone", or lists of names like { "sites": ["juba"]'],
    [{ ...GOOD, for: { site: ["juba"] } }, 'for must be "everyone", or lists of names'],
    [{ ...GOOD, for: { roles: ["a nurse"] } }, 'for.roles names "a nurse", which cannot be a role'],
    [{ ...GOOD, extra: 1 }, "the policy has no member extra"],
    [of({ priority: 77 }), "entities.beneficiary.priority must be at most 9"],
    [of({ priority: 1.5 }), "entities.beneficiary.priority must be a whole number"],
    [of({ direktion: "up" }), "entities.beneficiary has no member direktion"],
    [of({ direction: "in" }), 'entities.beneficiary.direction must be one of "up", "down", "both"'],
    [of({ where: "Rejaf" }), "entities.beneficiary.where must be an object"],
    [of({ where: { district: [] } }), "entities.beneficiary.where.district must be"],
    [of({ where: { district: {} } }), "must be a text, a number, true, false or null, or a list of these"],
    [of({ statesOnly: "yes" }), "entities.beneficiary.statesOnly must be true or false"],
  ] as const) {
    const read = () => readPolicy(given);
    expect(read, JSON.stringify(given)).toThrow(told);
    expect(read).not.toThrow(/Invalid|expected/);
  }
  expect(readPolicy(GOOD)).toMatchObject({ name: "x" });
});
