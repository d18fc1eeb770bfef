import { describe, expect, it } from "vitest";
import {
  type Bucket,
  bucketIdOf,
  coversBucket,
  grantsOf,
  isBucketId,
  isSameBucket,
  type Policy,
  policyProblems,
  policySchema,
  sha256,
} from "../../services/core/index.ts";

const policy = (given: unknown): Policy => policySchema.parse(given);
const site = (name: string, roles: string[] = []) => ({ kind: "site", org: "relief", site: name, roles }) as const;

const kampala = policy({
  name: "kampala",
  for: { sites: ["relief.kampala"] },
  entities: {
    beneficiary: { where: { district: ["Kampala", "Wakiso"] }, priority: 1 },
    distribution: { where: { district: "Kampala" } },
  },
});
const stock = policy({
  name: "stock",
  for: "everyone",
  entities: { stock: { statesOnly: true, direction: "down", priority: 0 } },
});
const partner = policy({ name: "partner", for: { hubs: ["unhcr"] }, entities: { beneficiary: {} } });
const nurses = policy({ name: "nurses", for: { roles: ["nurse"] }, entities: { vaccination: {} } });

describe("policies", () => {
  it("give a site what names it, its organisation, its roles or everyone, the most urgent first", () => {
    const all = [kampala, stock, partner, nurses];
    const given = (holder: Parameters<typeof grantsOf>[1]) =>
      grantsOf(all, holder).map(({ policy, entityType }) => `${policy}/${entityType}`);
    expect(given(site("kampala"))).toEqual(["stock/stock", "kampala/beneficiary", "kampala/distribution"]);
    expect(given(site("juba"))).toEqual(["stock/stock"]);
    expect(given(site("juba", ["nurse"]))).toEqual(["stock/stock", "nurses/vaccination"]);
    expect(given({ kind: "hub", org: "unhcr" })).toEqual(["partner/beneficiary"]);
    expect(given({ kind: "hub", org: "other" })).toEqual([]);
  });

  it("name sites with their organisation: another organisation's site of the name is another site", () => {
    const named = policy({ name: "a", for: { sites: ["msf.kampala"] }, entities: { beneficiary: {} } });
    expect(grantsOf([named], site("kampala"))).toEqual([]);
    expect(grantsOf([named], { ...site("kampala"), org: "msf" })).toHaveLength(1);
    const bare = policy({ name: "a", for: { sites: ["kampala"] }, entities: { beneficiary: {} } });
    expect(grantsOf([bare], site("kampala"))).toEqual([]);
  });

  it("cover the buckets that have one of the values in each column that they name", () => {
    const [first] = grantsOf([kampala], site("kampala"));
    const covers = (district: string, month: string) =>
      coversBucket(first!, { entityType: "beneficiary", columns: ["district", "month"], values: [district, month] });
    expect(covers("Kampala", "2026-05")).toBe(true);
    expect(covers("Wakiso", "2026-06")).toBe(true);
    expect(covers("Gulu", "2026-05")).toBe(false);
    expect(coversBucket(first!, { entityType: "distribution", columns: ["district"], values: ["Kampala"] })).toBe(false);
  });

  it("cover nothing by a column that is not part of the scope", () => {
    const [first] = grantsOf([kampala], site("kampala"));
    expect(coversBucket(first!, { entityType: "beneficiary", values: [] })).toBe(false);
  });

  it("are refused where they name what the views do not have", () => {
    const scopes = new Map([
      ["beneficiary", ["district"]],
      ["stock", []],
    ]);
    expect(policyProblems(stock, scopes)).toEqual([]);
    expect(policyProblems(kampala, scopes)).toEqual(["no view shows entities of the type distribution"]);
    const wrong = policy({
      name: "w",
      for: "everyone",
      entities: { beneficiary: { where: { village: "A" } }, stock: { where: { depot: 1 } } },
    });
    expect(policyProblems(wrong, scopes)).toEqual([
      "village is not a scope column of beneficiary: these are district",
      "the view of stock has no scopeBy, so nothing can be chosen by depot",
    ]);
  });

  it.each([
    ["a member that is not known", { name: "a", for: "everyone", entities: {}, sites: [] }],
    ["a name with a space", { name: "a b", for: "everyone", entities: {} }],
    ["a range", { name: "a", for: "everyone", entities: { stock: { where: { month: { from: 1 } } } } }],
    ["nobody", { name: "a", entities: {} }],
  ])("with %s are not policies", (_, given) => {
    expect(policySchema.safeParse(given).success).toBe(false);
  });
});

describe("a bucket", () => {
  it("has one id for one type, columns and values, which tells texts from numbers, one column from two, and a village from a district of the same name", () => {
    const buckets: Bucket[] = [
      { entityType: "a", values: [] },
      { entityType: "a", values: [null] },
      { entityType: "a", values: ["1"] },
      { entityType: "a", values: [1] },
      { entityType: "a", values: ["1", "2"] },
      { entityType: "a", values: ["12"] },
      { entityType: "b", values: ["12"] },
      { entityType: "b", columns: ["district"], values: ["12"] },
      { entityType: "b", columns: ["village"], values: ["12"] },
      { entityType: "b", columns: ["district", "village"], values: ["12", null] },
    ];
    const ids = buckets.map(bucketIdOf);
    expect(new Set(ids).size).toBe(buckets.length);
    expect(ids.every(isBucketId)).toBe(true);
    for (const [i, a] of buckets.entries()) for (const [j, b] of buckets.entries()) expect(isSameBucket(a, b)).toBe(i === j);
    expect(bucketIdOf({ entityType: "a", columns: [], values: [] })).toBe(ids[0]);
    expect(ids[4]).toBe(sha256('tributary bucket\n["a","1","2"]').slice(0, 32));
  });
});
