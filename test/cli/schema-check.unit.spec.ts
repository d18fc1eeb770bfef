import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { afterAll, afterEach, expect, it, vi } from "vitest";
import { runHere } from "../support/here.ts";
import { newDir } from "../support/home.ts";

const MERGE = join(import.meta.dirname, "../../services/merge/index.ts");
const dir = newDir("check");
afterEach(() => vi.unstubAllEnvs());
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** A project's folder with these files. */
function project(name: string, files: Readonly<Record<string, string>>): string {
  const root = join(dir, name);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(root, path, ".."), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  vi.stubEnv("TRIBUTARY_SCHEMAS", join(root, "schemas"));
  vi.stubEnv("TRIBUTARY_PROJECTIONS", join(root, "projections"));
  return root;
}
const form = (more: object = {}): string =>
  JSON.stringify({
    $schema: "https://json-schema.org/draft/2020-12/schema",
    tributary: { entity: "visit", events: ["visit.made"], title: "Visit", personal: [] },
    type: "object",
    properties: { note: { type: "string" } },
    additionalProperties: false,
    ...more,
  });
const view = (event: string): string =>
  `import { defineProjection, set, text } from ${JSON.stringify(MERGE)};
export default defineProjection({ name: "visits", entity: "visit", columns: { note: text() }, events: { "${event}": set() } });
`;

it("a malformed form is named once, with what is wrong in it, and one error is “1 error”", async () => {
  const root = project("malformed", { "schemas/visit/v1.schema.json": "{bad" });
  const { code, stdout } = await runHere("schema", "check");
  expect(code).toBe(3);
  expect(stdout.split("v1.schema.json")).toHaveLength(2);
  expect(stdout).toContain("✗ it is not JSON");
  expect(stdout).toContain(`${join(root, "schemas")}: 1 error, 0 warnings.`);
});

it.each([
  [["title"], "nothing would break; 1 warning."],
  [["title", "personal"], "nothing would break; 2 warnings."],
])("warnings are counted in words: for %j it says “%s”", async (lacks, says) => {
  const loose = JSON.parse(form());
  for (const name of lacks) delete loose.tributary[name];
  const files = { "schemas/visit/v1.schema.json": JSON.stringify(loose), "projections/visits.ts": view("visit.made") };
  project(lacks.join("-"), files);
  const { code, stdout } = await runHere("schema", "check");
  expect(code).toBe(0);
  expect(stdout).toContain(says);
});

it("an event that a view takes and no form declares is in the report for code review tools, at its line in the view's file", async () => {
  const root = project("unfed", { "schemas/visit/v1.schema.json": form(), "projections/visits.ts": view("visit.maid") });
  const report = join(root, "report.sarif");
  const { code, stdout } = await runHere("schema", "check", "--sarif", report, "--json");
  expect(code).toBe(0);
  expect(JSON.parse(stdout).unfed).toEqual(["visits takes visit.maid; no form declares it"]);
  const [run] = JSON.parse(readFileSync(report, "utf8")).runs;
  expect(run.tool.driver.rules).toMatchObject([{ id: "unfed-event" }]);
  expect(run.results).toMatchObject([
    {
      ruleId: "unfed-event",
      level: "warning",
      message: { text: expect.stringContaining("visits takes visit.maid; no form declares it. Check the name") },
      locations: [
        {
          physicalLocation: {
            artifactLocation: { uri: relative(".", join(root, "projections/visits.ts")) },
            region: { startLine: 2 },
          },
        },
      ],
    },
  ]);
});
