import { defineConfig } from "vitest/config";
import { TEST_MS } from "./test/support/patience.ts";

const UNIT = "test/**/*.unit.spec.ts";

/** `--mode unit`: the tests that start no server, with a part of their random cases, in half a minute. */
export default defineConfig(({ mode }) => {
  const isQuick = mode === "unit";
  const shared = {
    setupFiles: ["test/support/setup.ts"],
    env: { TRIBUTARY_TEST_QUICK: isQuick ? "1" : "" },
    pool: "forks" as const,
    // Files share a process: loading everything again for each file took a third of the processor time of the tests that start servers.
    isolate: false,
    // Files run as Node itself runs them: that spares half of what loading them costs, and functions have the text that a hub sees, by which it tells
    // declarations apart.
    experimental: { viteModuleRunner: false },
    // Ends what hangs. No test has a limit of its own: test/patience.unit.spec.ts
    testTimeout: TEST_MS,
    hookTimeout: TEST_MS,
    globalSetup: ["test/support/warden.ts"],
  };
  const unit = { test: { ...shared, name: "unit", include: [UNIT] } };
  const servers = {
    test: {
      ...shared,
      name: "servers",
      include: ["test/**/*.spec.ts"],
      exclude: [UNIT],
      globalSetup: ["test/support/warden.ts", "test/support/cluster.ts"],
    },
  };
  return {
    test: {
      projects: isQuick ? [unit] : [unit, servers],
      // Two cores, real servers: a part of the time is waiting, so four files run at once.
      maxWorkers: isQuick ? 2 : 4,
      teardownTimeout: 20_000,
    },
  };
});
