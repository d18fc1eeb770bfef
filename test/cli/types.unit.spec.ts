import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { loadForms, loadViews } from "../../services/cli/folders.ts";
import { OWN_SUBJECTS } from "../../services/cli/program.ts";
import { typesFile } from "../../services/cli/types-file.ts";
import { schemaStore } from "../../services/gate/index.ts";
import { boolean, date, decimal, defineProjection, json, set, text, timestamp } from "../../services/merge/index.ts";
import { tempDir } from "../support/temp.ts";

const ROOT = join(import.meta.dirname, "../..");
const TSC = join(ROOT, "node_modules/typescript/bin/tsc");
const run = promisify(execFile);

/** What the compiler says of an app that stands beside the generated file; empty: nothing. */
async function compiled(types: string, app: string): Promise<string> {
  const dir = tempDir();
  writeFileSync(join(dir, "tributary.d.ts"), types);
  writeFileSync(join(dir, "app.ts"), app);
  writeFileSync(join(dir, "package.json"), JSON.stringify({ type: "module" }));
  const compilerOptions = {
    ...{
      strict: true,
      noEmit: true,
      exactOptionalPropertyTypes: false,
      allowImportingTsExtensions: true,
      skipLibCheck: true,
      noUncheckedIndexedAccess: true,
    },
    ...{ module: "nodenext", target: "es2024", lib: ["es2024", "esnext.disposable"], types: ["node"] },
    typeRoots: [join(ROOT, "node_modules/@types")],
  };
  writeFileSync(join(dir, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["app.ts", "tributary.d.ts"] }));
  try {
    await run(process.execPath, [TSC, "-p", dir]);
    return "";
  } catch (error) {
    return (error as { stdout: string }).stdout;
  }
}

const ofProject = async (): Promise<string> => {
  const folders = { schemas: join(ROOT, "schemas"), projections: join(ROOT, "projections") };
  return typesFile(loadForms(folders, { trusted: true }), await loadViews(folders), OWN_SUBJECTS);
};

const FIELD = JSON.stringify(join(ROOT, "services/field/index.ts"));
const OPEN = `import { openField } from ${FIELD};
import type { Tributary } from "./tributary.d.ts";
const field = openField<Tributary>({ path: "x.db", schemas: "schemas" });
const person = { type: "beneficiary", id: "NBO-000001" } as const;
`;

const CLIENT = JSON.stringify(join(ROOT, "packages/client/index.ts"));
const ASK = `import { client } from ${CLIENT};
import type { Tributary } from "./tributary.d.ts";
const hub = client<Tributary>("https://hub.example.org", { token: "t" });
const person = { type: "beneficiary", id: "NBO-000001" } as const;
`;

describe("the types of a project", () => {
  it("are the same text for the same forms and views, in whatever order these were read", async () => {
    const once = await ofProject();
    const folders = { schemas: join(ROOT, "schemas"), projections: join(ROOT, "projections") };
    const again = typesFile(loadForms(folders, { trusted: true }), [...(await loadViews(folders))].reverse(), OWN_SUBJECTS);
    expect(again).toBe(once);
    expect(once).toContain(
      'readonly "beneficiary.registered": { readonly entity: "beneficiary"; readonly data: BeneficiaryV2 };',
    );
    expect(once).toContain("export type BeneficiaryV1 = {");
    expect(once).not.toContain("PolicyRemoval");
  });

  it("let an app write what its forms take, and ask for columns that its views have", async () => {
    const app = `${OPEN}
await field.append({ type: "beneficiary.updated", entity: person, data: { phone: "+254712345678", village: null }, actor: "a" });
await field.append({ type: "stock.received", entity: { type: "stock-movement", id: "M-1" }, actor: "a",
  data: { movement_no: "M-1", item: "RICE", quantity: 2.5, unit: "KG", moved_on: "2026-05-03", waybill: null } });
await field.append({ type: "distribution.recorded", entity: { type: "distribution", id: "D-1" }, actor: "a",
  data: { distribution_no: "D-1", registration_no: "NBO-000001", item: "SOAP", quantity: 1, unit: "PIECE", distributed_on: "2026-05-03" } });
await field.append({ type: "beneficiary.registered", schema: { subject: "beneficiary", version: 1 }, entity: person, data: { any: "thing" }, actor: "a" });
for (const row of field.query("beneficiaries", { where: { status: ["idp", "refugee"], household_size: { gte: 5 } }, order: "family_name", limit: 20 })) {
  const size: number | null = row.household_size;
  const own: "pending" | "confirmed" | "quarantined" | null = row._own;
  console.log(row.id, row.given_name?.toUpperCase(), size, own);
}
field.watch("beneficiaries", { where: { id: "NBO-000001" } }, ([row]) => console.log(row?.village));
`;
    expect(await compiled(await ofProject(), app)).toBe("");
  });

  it("make a wrong event type, a wrong member, a wrong value, a wrong entity, a wrong view, a wrong column and a wrong comparison errors of compilation", async () => {
    const wrong = [
      'await field.append({ type: "beneficiary.renamed", entity: person, data: {}, actor: "a" });',
      'await field.append({ type: "beneficiary.updated", entity: person, data: { fone: "1" }, actor: "a" });',
      'await field.append({ type: "beneficiary.updated", entity: person, data: { household_size: "4" }, actor: "a" });',
      'await field.append({ type: "beneficiary.updated", entity: { type: "distribution", id: "D" }, data: { phone: null }, actor: "a" });',
      'await field.append({ type: "beneficiary.registered", entity: person, data: { registration_no: "N" }, actor: "a" });',
      'field.query("beneficiary");',
      'field.query("beneficiaries", { where: { famly_name: "A" } });',
      'field.query("beneficiaries", { where: { household_size: "5" } });',
      'field.query("beneficiaries", { order: "surname" });',
      'field.query("beneficiaries")[0]?.surname;',
      'field.query("distribution_summary");',
    ];
    const said = await compiled(await ofProject(), `${OPEN}${wrong.join("\n")}\n`);
    const first = OPEN.split("\n").length;
    const lines = new Set([...said.matchAll(/\bapp\.ts\((\d+),/gm)].map(([, line]) => Number(line)));
    expect(
      [...lines].sort((a, b) => a - b),
      said,
    ).toEqual(wrong.map((_, i) => first + i));
  });

  it("let a program that asks a hub write what its forms take, and ask by the kinds of the views' columns", async () => {
    const app = `${ASK}
const people = hub.view("beneficiaries");
const { rows, next, through } = await people.rows({ where: { status: { in: ["idp"] }, household_size: { ge: 5, lt: 9 }, consent: { eq: true }, village: { contains: "gum" } },
  sort: "registered_on", descending: true, first: 20, count: true });
for (const row of rows) {
  const [id, size, on, deleted]: [string, number | null, string | null, boolean | null] = [row.id, row.household_size, row.registered_on, row.deleted];
  console.log(id, size, on, deleted, next);
}
const some: { readonly id: string; readonly village: string | null } | null = await people.row("NBO-000001", { select: ["id", "village"], asOf: { time: "2026-05-03T12:00:00Z" } });
const ledger = await hub.view("stock_ledger").rows({ where: { balance: { lt: 0 } }, sort: "item" });
const balance: number | null | undefined = ledger.rows[0]?.balance;
const joined = await hub.view("handouts").rows({ where: { item: { eq: "SOAP" }, quantity: { gt: 2 } }, sort: "anything" });
console.log(some?.village, balance, joined.rows[0]?.anything);
for await (const page of hub.view("beneficiaries").all({ select: ["id"] })) console.log(page.rows[0]?.id);
const [written] = await hub.append({ type: "beneficiary.updated", entity: person, data: { village: "Gumbo" }, seenThrough: through ?? undefined });
await hub.append([{ type: "beneficiary.registered", schema: { subject: "beneficiary", version: 1 }, entity: person, data: { any: "thing" } }]);
const [open] = (await hub.cases({ state: "open", unassigned: true })).cases;
const found = open === undefined ? null : await hub.case(open.id);
await hub.decide("c", { pick: found?.choices?.[0]?.pick ?? "", note: "asked" });
await hub.decide("c", { value: null });
const any = client("https://hub", { token: async () => "t" });
await any.append({ type: "what.ever", entity: { type: "what", id: "1" }, data: { a: [1] } });
console.log(written?.quarantined, (await any.view("whatever").rows({ where: { a: { ge: 1 } } })).rows[0]?.b);
`;
    expect(await compiled(await ofProject(), app)).toBe("");
  });

  it.each(["docs/api.md", "packages/client/README.md"])("let the example of %s be compiled as it stands", async (file) => {
    const [, example = ""] = /```ts\n(import \{ client[\s\S]*?)```/.exec(readFileSync(join(ROOT, file), "utf8")) ?? [];
    expect(example).toContain("client<Tributary>");
    expect(await compiled(await ofProject(), example.replace('"@tributary-sync/client"', CLIENT))).toBe("");
  });

  it("make what a hub would refuse of a program errors of compilation", async () => {
    const wrong = [
      'await hub.append({ type: "beneficiary.renamed", entity: person, data: {} });',
      'await hub.append({ type: "beneficiary.updated", entity: person, data: { fone: "1" } });',
      'await hub.append({ type: "beneficiary.updated", entity: { type: "distribution", id: "D" }, data: { phone: null } });',
      'hub.view("beneficiary");',
      'await hub.view("beneficiaries").rows({ where: { famly_name: { eq: "A" } } });',
      'await hub.view("beneficiaries").rows({ where: { household_size: { eq: "5" } } });',
      'await hub.view("beneficiaries").rows({ where: { registered_on: { contains: "2026" } } });',
      'await hub.view("beneficiaries").rows({ where: { consent: { lt: true } } });',
      'await hub.view("beneficiaries").rows({ where: { village: { eq: null } } });',
      'await hub.view("beneficiaries").rows({ sort: "surname" });',
      'await hub.view("beneficiaries").rows({ select: ["surname"] });',
      '(await hub.view("beneficiaries").row("N", { select: ["id"] }))?.village;',
      'await hub.decide("c", { pick: "1", value: "2" });',
      'await hub.decide("c", {});',
      'await hub.cases({ state: "shut" });',
      'client("https://hub");',
    ];
    const said = await compiled(await ofProject(), `${ASK}${wrong.join("\n")}\n`);
    const first = ASK.split("\n").length;
    const lines = new Set([...said.matchAll(/\bapp\.ts\((\d+),/gm)].map(([, line]) => Number(line)));
    expect(
      [...lines].sort((a, b) => a - b),
      said,
    ).toEqual(wrong.map((_, i) => first + i));
  });

  it("say of each kind of schema and column what TypeScript can say of it", async () => {
    const file = (name: string, document: object) =>
      new Map([
        [1, { path: name, kind: name.endsWith("avsc") ? ("avro" as const) : ("json" as const), text: JSON.stringify(document) }],
      ]);
    const tributary = (entity: string) => ({ entity, events: [`${entity}.noted`] });
    const forms = schemaStore(
      new Map([
        [
          "tree",
          file("v1.schema.json", {
            tributary: tributary("tree"),
            type: "object",
            $defs: {
              node: {
                type: "object",
                required: ["kind"],
                properties: { kind: { const: "leaf" }, next: { $ref: "#/$defs/node" } },
              },
            },
            required: ["root", "free"],
            properties: {
              root: { $ref: "#/$defs/node", description: "Where it begins */ and ends" },
              "two words": { type: ["string", "null"] },
              pair: { type: "array", prefixItems: [{ type: "number" }, { type: "string" }], items: false, minItems: 1 },
              many: { type: "array", items: { anyOf: [{ type: "integer" }, { enum: ["few", "some"] }] } },
              either: { oneOf: [{ type: "object", required: ["a"], properties: { a: { type: "boolean" } } }, { type: "null" }] },
              marks: { type: "object", additionalProperties: { type: "number" } },
              free: true,
            },
            additionalProperties: false,
          }),
        ],
        [
          "chain",
          file("v1.avsc", {
            tributary: tributary("chain"),
            type: "record",
            name: "org.Chain",
            fields: [
              {
                name: "links",
                type: {
                  type: "array",
                  items: { type: "record", name: "Link", fields: [{ name: "next", type: ["null", "Link"], default: null }] },
                },
              },
              { name: "by", type: { type: "map", values: ["int", "string"] } },
              { name: "colour", type: { type: "enum", name: "Colour", symbols: ["RED", "BLUE"] } },
            ],
          }),
        ],
      ]),
    );
    const view = defineProjection({
      name: "trees",
      entity: "tree",
      columns: { said: text(), on: date(), at: timestamp(), worth: decimal(), is_old: boolean(), marks: json() },
      events: { "tree.noted": set() },
    });
    const app = `import type { ChainV1, TreeV1, TreesRow, Tributary } from "./tributary.d.ts";
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const is = <T extends true>(): T | undefined => undefined;
is<Same<TreeV1["two words"], string | null | undefined>>();
is<Same<TreeV1["pair"], readonly [number, string?] | undefined>>();
is<Same<TreeV1["many"], readonly (number | "few" | "some")[] | undefined>>();
is<Same<TreeV1["root"]["kind"], "leaf">>();
is<Same<NonNullable<TreeV1["root"]["next"]>, TreeV1["root"]>>();
is<Same<TreeV1["marks"], { readonly [member: string]: number } | undefined>>();
is<Same<ChainV1["by"], { readonly [member: string]: number | string }>>();
is<Same<ChainV1["colour"], "RED" | "BLUE">>();
is<Same<NonNullable<ChainV1["links"][number]["next"]>, ChainV1["links"][number]>>();
is<Same<TreesRow["worth"], number | null>>();
is<Same<TreesRow["at"], string | null>>();
is<Same<keyof Tributary["events"], "chain.noted" | "tree.noted">>();
const tree: TreeV1 = { root: { kind: "leaf", next: { kind: "leaf" } }, free: [1, { a: null }], either: { a: true }, marks: { x: 1 } };
const chain: ChainV1 = { links: [{ next: null }, {}], by: { a: 1, b: "2" }, colour: "RED" };
console.log(tree, chain);
`;
    expect(await compiled(typesFile(forms, [view], []), app)).toBe("");
  });
});
