import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { MAIN, NODE_FLAGS, PROJECTIONS_DIR } from "../../services/cli/program.ts";
import { loadProjections } from "../../services/cli/projections.ts";
import type { View } from "../../services/merge/engine.ts";
import { connectViews, generationsOf, isBuiltAs } from "../../services/views/index.ts";
import { openDir, runHub } from "../support/hub-process.ts";
import { tempDir } from "../support/temp.ts";

/** The shipped projections in a folder of a team's own, with another rule for phones. */
function teamsProjections(): string {
  const dir = tempDir();
  for (const name of readdirSync(PROJECTIONS_DIR)) {
    let text = readFileSync(join(PROJECTIONS_DIR, name), "utf8").replace(
      "../services/",
      `${join(PROJECTIONS_DIR, "..")}/services/`,
    );
    if (name === "beneficiaries.ts") {
      text = text.replace("others: lastWriteWins", 'others: lastWriteWins, phone: sitePriority(["juba"])');
      text = text.replace("lastWriteWins, remove", "lastWriteWins, remove, sitePriority");
    }
    writeFileSync(join(dir, name), text);
  }
  return dir;
}

const beneficiaries = async (dir: string): Promise<View | undefined> =>
  (await loadProjections(dir)).find(({ name }) => name === "beneficiaries");

/** The program as a person runs it in some folder. */
function runIn(
  cwd: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<{ readonly code: number; readonly output: string }> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [...NODE_FLAGS, MAIN, ...args],
      { cwd, env: { ...process.env, ...env } },
      (_, ...out) => resolve({ code: child.exitCode ?? -1, output: out.join("") }),
    );
  });
}

describe("a hub with a team's own projections", () => {
  it("keeps its rules when commands are run from any other folder, and after a restart without options", async () => {
    const dir = openDir();
    const projections = teamsProjections();
    const first = await runHub(dir, ["--projections", projections]);
    expect(first.state.folders?.projections).toBe(projections);
    const db = await connectViews(first.state.postgresUrl, "test");
    const rule = async (): Promise<"the team's" | "the shipped one"> => {
      const live = await generationsOf(db, "live");
      const [theirs, shipped] = await Promise.all([projections, PROJECTIONS_DIR].map(beneficiaries));
      expect(isBuiltAs(theirs!, live)).toBe(!isBuiltAs(shipped!, live));
      return isBuiltAs(theirs!, live) ? "the team's" : "the shipped one";
    };
    try {
      expect(await rule()).toBe("the team's");

      const elsewhere = tempDir();
      const rebuilt = await runIn(elsewhere, ["rebuild", "beneficiaries", "--data", dir]);
      expect(`${rebuilt.code} ${rebuilt.code === 0 ? "" : rebuilt.output}`).toBe("0 ");
      expect(await rule()).toBe("the team's");

      // Another project's configuration stands where the command is run.
      mkdirSync(join(elsewhere, "projections"));
      writeFileSync(join(elsewhere, "tributary.config.json"), JSON.stringify({ projections: "projections" }));
      expect((await runIn(elsewhere, ["rebuild", "--all", "--data", dir])).code).toBe(0);
      expect(await rule()).toBe("the team's");

      const refused = await runIn(elsewhere, ["rebuild", "beneficiaries", "--data", dir, "--projections", PROJECTIONS_DIR]);
      expect(refused.code).toBe(2);
      expect(refused.output).toContain(
        `works with the projections in ${projections}, and --projections names ${PROJECTIONS_DIR}`,
      );
      const byVariable = await runIn(elsewhere, ["reconcile", "--all", "--data", dir], {
        TRIBUTARY_PROJECTIONS: PROJECTIONS_DIR,
      });
      expect(byVariable.code).toBe(2);
      expect(byVariable.output).toContain("TRIBUTARY_PROJECTIONS names");
      expect(await rule()).toBe("the team's");
    } finally {
      await db.end();
    }
    expect(await first.stop()).toBe(0);

    const second = await runHub(dir);
    expect(second.state.folders?.projections).toBe(projections);
  });
});
