import { describe, expect, it } from "vitest";
import { besides, blocksOf, follow } from "../support/typed.ts";

describe("README.md", () => {
  it("gives commands that work as they are printed, in their order", async () => {
    const { said } = await follow("README.md");
    expect(said.join("\n")).toContain("JUB-000007");
  });

  it("shows no command that is left out of that", () => {
    expect(besides("README.md").match(/^ {4}tributary .*/gm) ?? []).toEqual([]);
    const commands = blocksOf("README.md").flatMap((block) => (block.does === "run" ? block.commands : []));
    expect(commands.filter((command) => command.startsWith("tributary ")).length).toBeGreaterThan(10);
  });
});
