import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { startNode } from "../../services/log/node/index.ts";
import { tempDir } from "../support/temp.ts";

const GOLDEN = JSON.parse(readFileSync(join(import.meta.dirname, "../vectors/eventstore-23.10.6.json"), "utf8")) as Record<
  string,
  unknown
>;
const questions = "./questions.mjs";
const { askAll } = (await import(questions)) as { askAll(url: string): Promise<Record<string, unknown>> };

/** Answers that may differ, each with its reason. The test fails when one appears or disappears. */
const DEVIATIONS: Record<string, string> = {};

function compare(answers: Record<string, unknown>): void {
  const different = Object.keys({ ...GOLDEN, ...answers }).filter(
    (name) => JSON.stringify(answers[name]) !== JSON.stringify(GOLDEN[name]),
  );
  expect(Object.keys(GOLDEN).length).toBeGreaterThanOrEqual(120);
  for (const name of different)
    if (DEVIATIONS[name] === undefined) expect({ [name]: answers[name] }).toEqual({ [name]: GOLDEN[name] });
  expect(different.sort()).toEqual(Object.keys(DEVIATIONS).sort());
}

describe("the answers of a real EventStoreDB 23.10.6", () => {
  it("are those of the embedded node, on disk", async () => {
    await using node = await startNode({ dataDir: tempDir() });
    compare(await askAll(node.url));
  });

  const url = process.env.TRIBUTARY_EVENTSTORE_EMPTY_URL;
  it("are those of the empty server at TRIBUTARY_EVENTSTORE_EMPTY_URL", async ({ skip }) => {
    if (url === undefined || url === "")
      skip("no empty server is named: its events could not be told from those of the questions");
    compare(await askAll(url!));
  });
});
