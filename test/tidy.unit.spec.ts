import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Measured, type MeasuredFunction, measure } from "./support/tidy.ts";

const ROOT = join(import.meta.dirname, "..");
const MAX_FUNCTION_LINES = 70;
const MAX_PARAMETERS = 4;
const MAX_FILE_LINES = 500;

/** How many there may be for each 100 lines of services/. Only ever lower these. */
const MAX_CASTS = 0.83;
const MAX_NON_NULLS = 0.47;
/** When a number has fallen by more than this, the committed one is lowered too. */
const SLACK = 0.1;

/** What a reason begins with, in a comment right above the function: `// Long because its cases are one table.` */
const LONG = /^Long because \S+ \S+/;
const PARAMETERS = /^Many parameters because \S+ \S+/;

interface File extends Measured {
  readonly path: string;
}

const filesOf = (...folders: readonly string[]): File[] =>
  folders.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => /\.(ts|mts)$/.test(name) && !name.includes("node_modules"))
      .map((name) => ({ path: join(folder, name), ...measure(name, readFileSync(join(ROOT, folder, name), "utf8")) })),
  );
const services = filesOf("services");
const sources = [...services, ...filesOf("projections")];
const hasReason = (each: MeasuredFunction, form: RegExp): boolean => each.above.some((line) => form.test(line));
const functionsOf = (files: readonly File[]): (MeasuredFunction & { readonly where: string })[] =>
  files.flatMap(({ path, functions }) => functions.map((each) => ({ ...each, where: `${path}:${each.line} ${each.name}` })));

describe("the house is tidy:", () => {
  it("a function of more than 70 lines says why it is long", () => {
    const untidy = functionsOf(sources)
      .filter((each) => each.lines > MAX_FUNCTION_LINES && !hasReason(each, LONG))
      .map(({ where, lines }) => `${where}: ${lines} lines`);
    expect(untidy, "make it shorter, or say in a comment right above it: Long because …").toEqual([]);
  });

  it("a function of more than four parameters says why it takes them", () => {
    const untidy = functionsOf(sources)
      .filter((each) => each.parameters > MAX_PARAMETERS && !hasReason(each, PARAMETERS))
      .map(({ where, parameters }) => `${where}: ${parameters} parameters`);
    expect(untidy, "take an object, or say in a comment right above it: Many parameters because …").toEqual([]);
  });

  it("no reason stands above a function that needs none", () => {
    const idle = functionsOf(sources)
      .filter((each) => hasReason(each, LONG) || hasReason(each, PARAMETERS))
      .filter(
        ({ line, where }) =>
          !functionsOf(sources).some(
            (each) =>
              each.line === line &&
              each.where.split(":")[0] === where.split(":")[0] &&
              (each.lines > MAX_FUNCTION_LINES || each.parameters > MAX_PARAMETERS),
          ),
      )
      .map(({ where }) => where);
    expect(idle).toEqual([]);
  });

  it("no file has more than 500 lines", () => {
    const untidy = [...sources, ...filesOf("test", "bench")]
      .filter(({ lines }) => lines > MAX_FILE_LINES)
      .map(({ path, lines }) => `${path}: ${lines} lines`);
    expect(untidy).toEqual([]);
  });

  it("an index.ts names what others may use, and never exports all of a file", () => {
    const untidy = services.filter(({ path, exportsAll }) => path.endsWith("index.ts") && exportsAll > 0).map(({ path }) => path);
    expect(untidy).toEqual([]);
  });

  const lines = services.reduce((sum, file) => sum + file.lines, 0);
  it.each([
    ["casts (x as T)", "MAX_CASTS", MAX_CASTS, services.reduce((sum, { casts }) => sum + casts, 0)],
    [
      "assertions that something is there (x!)",
      "MAX_NON_NULLS",
      MAX_NON_NULLS,
      services.reduce((sum, { nonNulls }) => sum + nonNulls, 0),
    ],
  ])("%s only become fewer", (what, name, most, count) => {
    const each100 = (count * 100) / lines;
    expect(each100, `services/ has ${count} ${what} in ${lines} lines; narrow the type instead`).toBeLessThanOrEqual(most);
    expect(each100, `there are fewer ${what} now: lower ${name} to ${Math.ceil(each100 * 100) / 100}`).toBeGreaterThan(
      most - SLACK,
    );
  });
});

describe("the measure", () => {
  const of = (...lines: readonly string[]): Measured => measure("x.ts", `${lines.join("\n")}\n`);

  it("counts lines and parameters of every kind of function", () => {
    const { functions, lines } = of(
      "function one(a: number, b: number) {",
      "  return [1].map((x, i, all) =>",
      "    x + i + a + b + all.length);",
      "}",
      "export const two = async ({ a, b }: { a: 1; b: 2 }): Promise<void> => {};",
      "export const three = { async run(x: string) {",
      "} };",
    );
    expect(lines).toBe(7);
    expect(functions.map(({ name, line, lines, parameters }) => [name, line, lines, parameters])).toEqual([
      ["one", 1, 4, 2],
      ["one", 2, 2, 3],
      ["two", 5, 1, 1],
      ["run", 6, 2, 1],
    ]);
  });

  it("finds the reason in either kind of comment, right above and nowhere else", () => {
    const { functions } = of(
      "/** What it does.",
      " * Long because it is one table. */",
      "export function a() {}",
      "// Many parameters because all of them are one place.",
      "// And more.",
      "const b = () => {};",
      "// Long because of nothing.",
      "",
      "function c() {}",
      "const d = {",
      "  // Long because it is read from top to bottom.",
      "  run() {",
      "    return () => 1; },",
      "};",
      "// Long because it stands elsewhere.",
      "const e =",
      "  () => 1;",
    );
    expect(functions.map(({ name, above }) => [name, above])).toEqual([
      ["a", ["What it does.", "Long because it is one table."]],
      ["b", ["Many parameters because all of them are one place.", "And more."]],
      ["c", []],
      ["run", ["Long because it is read from top to bottom."]],
      ["run", []],
      ["e", ["Long because it stands elsewhere."]],
    ]);
  });

  it("tells casts and assertions from what looks like them", () => {
    expect(
      of(
        'import { a as b } from "./a.ts";',
        "export { b as c };",
        "const d = [1] as const;",
        "const e = b as string; const f = (e as unknown) as number;",
        "const g = e!.length; const h = !g; const i = e != null && e !== undefined;",
        "let j!: string;",
        'const k = "x as y, z!"; // as, and !',
        "type L = { [K in string as Uppercase<K>]: 1 };",
      ),
    ).toMatchObject({ casts: 3, nonNulls: 1, exportsAll: 0 });
  });

  it("finds what exports all of a file, and refuses what is no TypeScript", () => {
    expect(of('export * from "./a.ts";', 'export * as b from "./b.ts";', 'export { c } from "./c.ts";').exportsAll).toBe(2);
    expect(() => of("const = ;")).toThrow("x.ts");
  });
});
