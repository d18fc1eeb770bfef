import { buildSchema, GraphQLScalarType, isObjectType, parse, printSchema, validateSchema } from "graphql";
import { describe, expect, it } from "vitest";
import { FOLLOWED } from "../../services/api/graphql/answers-live.ts";
import { describedBy } from "../../services/api/graphql/descriptions.ts";
import { GRAPHQL_LIMITS, type GraphqlLimits, pageRows, refuseTooMuch } from "../../services/api/graphql/limits.ts";
import { FIELD_RIGHTS, rightOf } from "../../services/api/graphql/rights.ts";
import { SCALARS } from "../../services/api/graphql/scalars.ts";
import { guard, makeSchema, ROOTS } from "../../services/api/graphql/schema.ts";
import { typeNameOf } from "../../services/api/graphql/view-types.ts";
import { loadProjections } from "../../services/cli/projections.ts";
import {
  boolean,
  date,
  decimal,
  defineProjection,
  defineSql,
  defineTotals,
  integer,
  json,
  map,
  number,
  set,
  text,
  timestamp,
} from "../../services/merge/index.ts";
import { gate } from "../support/hub.ts";

const every = defineProjection({
  name: "every_kind",
  entity: "thing",
  columns: {
    words: text(),
    whole: integer(),
    real: number(),
    amount: decimal(),
    flag: boolean(),
    day: date(),
    moment: timestamp(),
    any: json(),
    true: text(),
  },
  derive: { size: { column: integer(), of: ({ words }) => words?.length ?? null } },
  events: { "thing.made": set(), "thing.seen": map(() => ({})) },
});
const sums = defineTotals({
  name: "sums",
  keys: { words: text() },
  sums: { amount: decimal() },
  from: { every_kind: () => null },
});
const joined = defineSql({ name: "joined", sql: "SELECT id FROM views.every_kind", needs: ["every_kind"] });
const views = [every, sums, joined];
const schema = makeSchema(views, describedBy(gate));
const fieldsOf = (name: string): Readonly<Record<string, string>> => {
  const type = schema.getType(name);
  return isObjectType(type)
    ? Object.fromEntries(Object.values(type.getFields()).map((field) => [field.name, String(field.type)]))
    : {};
};

describe("the schema", () => {
  it("is made of declarations: a type for each kind of column, and the columns that each view has", () => {
    expect(validateSchema(schema)).toEqual([]);
    expect(fieldsOf("EveryKindRow")).toEqual({
      ...{
        id: "String!",
        words: "String",
        whole: "Integer",
        real: "Float",
        amount: "Decimal",
        flag: "Boolean",
        day: "Date",
        moment: "Instant",
      },
      ...{ any: "JSON", true: "String", size: "Integer", deleted: "Boolean", conflicts: "Integer", waiting_for: "JSON" },
    });
    expect(fieldsOf("SumsRow")).toEqual({ id: "String!", words: "String", amount: "Decimal", rows: "Integer" });
    expect(fieldsOf("JoinedPage").rows).toBe("[JSON!]!");
    expect(Object.keys(fieldsOf("Views"))).toEqual(["every_kind", "sums", "joined"]);
    expect(Object.keys(fieldsOf("Rows"))).toEqual(["every_kind", "sums"]);
  });

  it("says of columns what forms say of their members", async () => {
    const text = printSchema(makeSchema(await loadProjections("projections"), describedBy(gate)));
    expect(text).toMatch(/International form, for example \+254712345678\. Personal data\.\s*"""\s+phone: String/);
    expect(text).toMatch(/One of female, male, other, unknown\.\s*"""\s+sex: String/);
    expect(text).toContain("A row for each beneficiary. Its form: ");
  });

  it("has no field without a right, and the table has no line without a field", () => {
    const lines = new Set<string>();
    for (const root of [...ROOTS, FOLLOWED]) {
      const fields = Object.keys(fieldsOf(root));
      expect(fields.length).toBeGreaterThan(0);
      for (const field of fields) {
        expect([root, field, rightOf(root, field)]).not.toEqual([root, field, undefined]);
        lines.add(Object.hasOwn(FIELD_RIGHTS, `${root}.${field}`) ? `${root}.${field}` : `${root}.*`);
      }
    }
    expect([...lines].sort()).toEqual(Object.keys(FIELD_RIGHTS).sort());
  });

  it("is not made where a field has no right, no answer, or reads something outside the roots", () => {
    const answers = { Query: { me: () => null, cases: () => null }, Mutation: {}, Views: {}, Rows: {} };
    const made = (text: string) => () => guard(buildSchema(text), answers);
    expect(made("type Query { me: Int }")).not.toThrow();
    expect(made("type Query { me: Int secrets: Int }")).toThrow("Query.secrets has no line in the table of rights");
    expect(made("type Query { me: Int parked: Int }")).toThrow("nothing answers Query.parked");
    const within = buildSchema("type Query { me: Me } type Me { all: Int }");
    const type = within.getType("Me");
    if (isObjectType(type)) for (const field of Object.values(type.getFields())) field.resolve = () => 1;
    expect(() => guard(within, answers)).toThrow("Me.all reads something, and has no right");
  });

  it("gives no two views one name", () => {
    const names = [
      "a_b",
      "ab",
      "a_1",
      "a1",
      "a__b",
      "a_b_",
      "ab_",
      "a_1b",
      "a1b",
      "foo",
      "foo_row",
      "foo_page",
      "foo_where",
      "foo_sort",
    ];
    expect(new Set(names.map(typeNameOf)).size).toBe(names.length);
    const many = names.map((name) =>
      defineProjection({ name, entity: "thing", columns: { words: text() }, events: { "thing.made": set() } }),
    );
    expect(validateSchema(makeSchema(many, new Map()))).toEqual([]);
  });

  it("is there without views as well, for all that is not about rows", () => {
    const text = printSchema(makeSchema([], new Map()));
    expect(text).not.toContain("views: Views");
    expect(text).toContain("cases(");
  });
});

describe("scalars", () => {
  const scalar = (name: string): GraphQLScalarType =>
    SCALARS.find((each) => each.name === name) ?? new GraphQLScalarType({ name });
  it.each([
    ["Date", ["2026-05-03"], ["2026-02-30", "03.05.2026", 5, null]],
    ["Instant", ["2026-05-03T08:00:00Z", "2026-05-03T08:00:00.5+03:00"], ["2026-05-03", "2026-05-03T08:00", 5]],
    ["Integer", [0, 9_007_199_254_740_991], [0.5, 9_007_199_254_740_992, "5"]],
    ["Decimal", [0, 2.5, -1e29], ["2.5", 1e31, true]],
    ["Position", ["0", "9223372036854775807", "abcdefghijkl:12"], [5, "x", "", "-1"]],
    ["JSON", [{ a: [1, null] }, "x", 0, false], []],
  ])("%s takes what it says, and nothing else", (name, fit, unfit) => {
    for (const value of fit) expect(scalar(name).coerceInputValue(value)).toEqual(value);
    for (const value of unfit) expect(() => scalar(name).coerceInputValue(value)).toThrow(/ is not /);
  });
});

describe("a question that asks for too much is told which bound it breaks:", () => {
  const refusal = (text: string, limits: Partial<GraphqlLimits> = {}, variables: Record<string, unknown> = {}) => {
    const document = parse(text);
    const operation = document.definitions.find((each) => each.kind === "OperationDefinition");
    if (operation === undefined) throw new Error("it has no operation");
    try {
      refuseTooMuch(schema, document, operation, { variables, limits: { ...GRAPHQL_LIMITS, ...limits } });
      return null;
    } catch (error) {
      return (error as Error).message;
    }
  };
  const page = "{ views { every_kind(first: 100) { rows { id words } } } }";

  it("depth, also through fragments", () => {
    expect(refusal(page, { maxDepth: 4 })).toBeNull();
    expect(refusal(page, { maxDepth: 3 })).toContain("the question is too deep: 4, and 3 is the most (the setting maxDepth)");
    const fragments =
      "{ views { ...all } } fragment all on Views { every_kind { ...page } } fragment page on EveryKindPage { rows { ... on EveryKindRow { id } } }";
    expect(refusal(fragments, { maxDepth: 4 })).toBeNull();
    expect(refusal(fragments, { maxDepth: 3 })).toContain("maxDepth");
  });

  it("cost, which is fields times rows, whether written, in a variable, or left out", () => {
    // 1 views + 1 page + 100 × (1 list + 2 fields)
    expect(refusal(page, { maxCost: 302 })).toBeNull();
    expect(refusal(page, { maxCost: 301 })).toContain("302, and 301 is the most (the setting maxCost)");
    const asked = "query ($n: Int) { views { every_kind(first: $n) { rows { id words } } } }";
    expect(refusal(asked, { maxCost: 301 }, { n: 100 })).toContain("302");
    expect(refusal(asked, { maxCost: 151 }, {})).toContain("152");
    const doubled = `{ views { ...p ...q } } fragment p on Views { a: every_kind(first: 100) { rows { id words } } } fragment q on Views { b: every_kind(first: 100) { rows { id words } } }`;
    expect(refusal(doubled, { maxCost: 602 })).toContain("603");
  });

  it("aliases", () => {
    expect(refusal("{ a: me { org } b: me { org } }", { maxAliases: 2 })).toBeNull();
    expect(refusal("{ a: me { org } b: me { org } }", { maxAliases: 1 })).toContain(
      "2, and 1 is the most (the setting maxAliases)",
    );
  });

  it("rows of a page", () => {
    expect(pageRows(null, GRAPHQL_LIMITS)).toBe(50);
    expect(pageRows(1_000, GRAPHQL_LIMITS)).toBe(1_000);
    expect(() => pageRows(1_001, GRAPHQL_LIMITS)).toThrow("maxPageRows");
    expect(() => pageRows(0, GRAPHQL_LIMITS)).toThrow("first is 0");
  });

  it("fragments that use each other many times are measured once, and one within itself ends", () => {
    const chain = Array.from(
      { length: 60 },
      (_, i) => `fragment f${i} on Views { ${i === 59 ? "every_kind { next }" : `...f${i + 1} ...f${i + 1}`} }`,
    ).join("\n");
    expect(refusal(`{ views { ...f0 } } ${chain}`)).toContain("maxCost");
    expect(refusal("{ views { ...f } } fragment f on Views { ...f }")).toBeNull();
  });

  it("but the question by which tools ask for the schema is answered", async () => {
    const { getIntrospectionQuery } = await import("graphql");
    expect(refusal(getIntrospectionQuery({ descriptions: true, oneOf: true }))).toBeNull();
  });
});
