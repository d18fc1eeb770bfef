import { defineConfig } from "vitest/config";

/** `--mode unit`: the tests that start no server, with a part of their random cases, in half a minute. */
export default defineConfig(({ mode }) => ({
  test: {
    include: [mode === "unit" ? "test/**/*.unit.spec.ts" : "test/**/*.spec.ts"],
    globalSetup: mode === "unit" ? [] : ["test/support/cluster.ts"],
    setupFiles: ["test/support/setup.ts"],
    env: { TRIBUTARY_TEST_QUICK: mode === "unit" ? "1" : "" },
    // Two cores, real servers: a third of the time is waiting, so three files run at once; and a slow, shared machine is given time.
    pool: "forks",
    // Files run as Node itself runs them: that spares half of what loading them costs, and functions have the text that a hub sees, by which it tells
    // declarations apart.
    experimental: { viteModuleRunner: false },
    maxWorkers: mode === "unit" ? 2 : 3,
    // Tests that start nothing share a process: to load everything anew for each file takes longer than they do.
    isolate: mode !== "unit",
    testTimeout: 180_000,
    hookTimeout: 300_000,
    teardownTimeout: 20_000,
  },
}));
