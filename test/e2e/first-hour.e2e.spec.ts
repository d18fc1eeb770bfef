import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { follow } from "../support/typed.ts";

it("a stranger's first hour: an own form and view, a spreadsheet with faults, the mended rows at the desk", async () => {
  const { dir, said, type } = await follow("docs/first-hour.md");
  const text = said.join("\n");
  expect(text).toMatch(/points\.csv\s+waterpoint\.counted\s+4\s+2\s+0\s+2/);
  for (const words of ['"31/04/2026"', "status 'leaks'", "litres_a_day 'many'", "has no point_no"])
    expect(text.replaceAll('""', '"')).toContain(words);
  expect(text).toMatch(/failed\.csv\s+waterpoint\.counted\s+2\s+2\s+0\s+0/);
  expect(text).toMatch(/points\.csv\s+waterpoint\.counted\s+4\s+0\s+2\s+2/);
  const { rows } = JSON.parse(await type("tributary view water_points --json")) as { rows: Record<string, unknown>[] };
  expect(
    rows.map(({ id, village, status, litres_a_day, counted_on }) => [id, village, status, litres_a_day, counted_on]),
  ).toEqual([
    ["WP-1", "Gumbo", "works", 1250.5, "2026-05-03"],
    ["WP-2", "Hai Referendum", "broken", null, "2026-05-04"],
    ["WP-3", "Kator", "broken", 0, "2026-04-30"],
    ["WP-4", "Munuki", "works", 900, "2026-05-04"],
  ]);
  expect(text).toContain("happened 2026-04-30");
  expect(readFileSync(join(dir, "again.csv"), "utf8")).toContain("WP-3");
});
