import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { GRAPHQL_LIMITS } from "../../services/api/graphql/limits.ts";
import { foldersHere, loadForms, loadViews } from "../../services/cli/folders.ts";
import { SCHEMAS_DIR } from "../../services/cli/program.ts";
import { limitsGiven, QUESTION_LIMITS, settingOf, withSettings } from "../../services/cli/settings.ts";
import { runHere } from "../support/here.ts";
import { tempDir } from "../support/temp.ts";

const MERGE = join(SCHEMAS_DIR, "../services/merge/index.ts");

function fileIn(dir: string, name: string, text: string): string {
  const file = join(dir, name);
  mkdirSync(join(file, ".."), { recursive: true });
  writeFileSync(file, text);
  return file;
}

const none = (): undefined => undefined;

describe("a configuration file", () => {
  it("gives the settings that nothing else gives; its paths are relative to the file", async () => {
    const dir = tempDir();
    const file = fileIn(
      dir,
      "tributary.config.ts",
      `const org: string = "moh";\nexport default { org, projections: "rules", listen: "127.0.0.1:8080", requireKeys: true };\n`,
    );
    await withSettings(file, none, async () => {
      expect(settingOf("org")).toBe("moh");
      expect(settingOf("requireKeys")).toBe("true");
      expect(foldersHere().projections).toBe(join(dir, "rules"));
    });
    expect(settingOf("org")).toBeUndefined();
    expect(process.env.TRIBUTARY_PROJECTIONS).toBeUndefined();
  });

  it("bounds a question of GraphQL, each bound within what it may be", async () => {
    const file = fileIn(tempDir(), "own.json", JSON.stringify({ limits: { maxDepth: 7, maxPageRows: 200 } }));
    process.env.TRIBUTARY_MAX_PAGE_ROWS = "300";
    try {
      await withSettings(file, none, async () => expect(limitsGiven()).toEqual({ maxDepth: 7, maxPageRows: 300 }));
    } finally {
      delete process.env.TRIBUTARY_MAX_PAGE_ROWS;
    }
    expect(limitsGiven()).toEqual({});
    const wrong = fileIn(tempDir(), "own.json", JSON.stringify({ limits: { maxDepth: 0, maxTokens: 10_000_000, width: 1 } }));
    const refusal = withSettings(wrong, none, async () => {});
    await expect(refusal).rejects.toThrow("limits.maxDepth: it is not a whole number from 1 to 100");
    await expect(refusal).rejects.toThrow("limits.width: there is no such setting");
    // The hub's own defaults are those that `config check` tells.
    expect(Object.fromEntries(Object.entries(QUESTION_LIMITS).map(([name, { usual }]) => [name, usual]))).toEqual(GRAPHQL_LIMITS);
  });

  it("counts after the environment, which counts after options", async () => {
    const file = fileIn(tempDir(), "own.json", JSON.stringify({ org: "moh", projections: "rules" }));
    process.env.TRIBUTARY_ORG = "unicef";
    process.env.TRIBUTARY_PROJECTIONS = "/from/environment";
    try {
      await withSettings(file, none, async () => {
        expect(settingOf("org")).toBe("unicef");
        expect(foldersHere().projections).toBe("/from/environment");
      });
      const options = (name: string): string | undefined => (name === "projections" ? "/from/option" : undefined);
      await withSettings(file, options, async () => expect(foldersHere().projections).toBe("/from/option"));
    } finally {
      delete process.env.TRIBUTARY_ORG;
      delete process.env.TRIBUTARY_PROJECTIONS;
    }
  });

  it("with several mistakes has all of them reported at once, each with its location", async () => {
    const file = fileIn(
      tempDir(),
      "own.json",
      JSON.stringify({ listen: "8080", projctions: "x", ports: { nats: 0, mongo: 1 }, publicUrls: ["ftp://x"], projectors: 1.5 }),
    );
    const { code, stderr } = await runHere("config", "check", "--config", file);
    expect(code).toBe(2);
    for (const line of [
      'listen: "8080" is not an address to listen on',
      "projctions: there is no such setting",
      "ports.mongo: there is no such setting",
      "ports.nats: it is not a whole number from 1 to 65535",
      'publicUrls.0: it "ftp://x" is not an address that devices sync with',
      "projectors: it is not a whole number from 1 to 64",
    ])
      expect(stderr).toContain(`  ${line}\n`);
  });

  it("and the environment are checked alike: all wrong variables are reported at once, without secrets", async () => {
    const wrong = { TRIBUTARY_LISTEN: "8080", TRIBUTARY_PROJECTORS: "none", TRIBUTARY_POSTGRES_URL: "mysql://u:geheim@db/x" };
    Object.assign(process.env, wrong);
    try {
      const { code, stderr } = await runHere("config", "check", "--config", fileIn(tempDir(), "own.json", "{}"));
      expect(code).toBe(2);
      expect(stderr).toContain('  TRIBUTARY_LISTEN="8080": ');
      expect(stderr).toContain('  TRIBUTARY_PROJECTORS="none": it is not a whole number from 1 to 64\n');
      expect(stderr).toContain("  TRIBUTARY_POSTGRES_URL: it is not an address that begins with postgres://");
      expect(stderr).not.toContain("geheim");
    } finally {
      for (const variable of Object.keys(wrong)) delete process.env[variable];
    }
  });

  it("is shown setting by setting, with the source of each, and without passwords", async () => {
    const dir = tempDir();
    const file = fileIn(
      dir,
      "own.json",
      JSON.stringify({ data: "hub", servers: { postgres: "postgres://u:geheim@db/x" }, nats: { password: "geheim" } }),
    );
    process.env.TRIBUTARY_PROJECTORS = "2";
    try {
      const { code, stdout } = await runHere("config", "check", "--config", file, "--schemas", SCHEMAS_DIR, "--json");
      expect(code).toBe(0);
      expect(stdout).not.toContain("geheim");
      const { settings } = JSON.parse(stdout) as { settings: { setting: string; value: string; from: string; place: string }[] };
      const of = (name: string) => settings.find(({ setting }) => setting === name);
      expect(of("data")).toMatchObject({ value: join(dir, "hub"), from: "file", place: file });
      expect(of("servers.postgres")).toMatchObject({ value: "postgres://u:…@db/x", from: "file" });
      expect(of("projectors")).toMatchObject({ value: "2", from: "environment", place: "TRIBUTARY_PROJECTORS" });
      expect(of("schemas")).toMatchObject({ value: SCHEMAS_DIR, from: "option", place: "--schemas" });
      expect(of("org")).toMatchObject({ value: "relief", from: "default" });
    } finally {
      delete process.env.TRIBUTARY_PROJECTORS;
    }
  });
});

describe("a team's own folders", () => {
  it("have the hub's forms and views beside them", async () => {
    const dir = tempDir();
    fileIn(dir, "schemas/clinic/v1.schema.json", JSON.stringify({ type: "object", properties: { name: { type: "string" } } }));
    fileIn(
      dir,
      "projections/clinics.ts",
      `import { defineProjection, set, text } from ${JSON.stringify(MERGE)};
export default defineProjection({ name: "clinics", entity: "clinic", columns: { name: text() }, events: { "clinic.opened": set() } });\n`,
    );
    const subjects = loadForms({ schemas: join(dir, "schemas") }).subjects();
    expect(subjects).toEqual([
      ...["case-acceptance", "case-assignment", "case-comment", "clinic", "conflict-resolution"],
      ...["order-note", "policy", "policy-removal", "quarantine-rejection", "quarantine-release", "replica-purge"],
      ...["schema-change", "schema-registration", "site", "site-roles"],
    ]);
    const views = await loadViews({ projections: join(dir, "projections") });
    expect(views.map(({ name }) => name)).toEqual(["clinics", "policies", "schemas", "sites"]);
  });

  it("may hold a copy of one of the hub's forms, but no other form under its name", () => {
    const dir = tempDir();
    fileIn(dir, "site/v1.schema.json", JSON.stringify({ type: "object" }));
    expect(() => loadForms({ schemas: dir })).toThrow("site: the hub has forms of its own under this name");
    expect(loadForms({ schemas: SCHEMAS_DIR }).subjects()).toContain("site");
  });

  it("may replace one of the hub's views by one that has all of its columns", async () => {
    const dir = tempDir();
    const write = (columns: string): void => {
      fileIn(
        dir,
        `${columns.length}.ts`,
        `import { defineProjection, set, text, timestamp } from ${JSON.stringify(MERGE)};
export default defineProjection({ name: "sites", entity: "site", columns: { ${columns} }, events: { "site.registered": set() } });\n`,
      );
    };
    write("org: text(), site: text()");
    await expect(loadViews({ projections: dir })).rejects.toThrow(
      "sites replaces the hub's own, but has no column title, roles, registered_at, registered_by",
    );
    const whole = tempDir();
    fileIn(
      whole,
      "sites.ts",
      `import { defineProjection, json, set, text, timestamp } from ${JSON.stringify(MERGE)};
export default defineProjection({
  name: "sites",
  entity: "site",
  columns: { org: text(), site: text(), title: text(), roles: json(), registered_at: timestamp(), registered_by: text(), region: text() },
  events: { "site.registered": set("org", "site", "title") },
});\n`,
    );
    expect((await loadViews({ projections: whole })).map(({ name }) => name)).toEqual(["sites", "policies", "schemas"]);
  });
});
