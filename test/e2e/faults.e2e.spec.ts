import { expect, it } from "vitest";
import { runFaults } from "../support/faults.ts";

it("a hub whose processes are killed, whose log and tablets are put back to copies, loses nothing and doubles nothing", async () => {
  const run = await runFaults({
    seed: 4,
    rounds: 6,
    only: ["kill-eventstore", "kill-hub", "delete-consumer", "restore-log", "restore-tablet", "clone-tablet", "kill-sync"],
  });
  expect(run.problems).toEqual([]);
  expect(run.faults).toHaveLength(6);
  expect(run.inLog).toBeGreaterThanOrEqual(run.written - run.destroyed);
});
