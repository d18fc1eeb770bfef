import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.spec.ts"],
    globalSetup: ["test/support/cluster.ts"],
    setupFiles: ["test/support/setup.ts"],
    // Two cores, real servers: a third of the time is waiting, so three files run at once; and a slow, shared machine is given time.
    pool: "forks",
    // Files run as Node itself runs them: that spares half of what loading them costs, and functions have the text that a hub sees, by which it tells declarations apart.
    experimental: { viteModuleRunner: false },
    maxWorkers: 3,
    testTimeout: 180_000,
    hookTimeout: 300_000,
    teardownTimeout: 20_000,
  },
});
