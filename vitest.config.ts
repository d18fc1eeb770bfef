import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.spec.ts"],
    setupFiles: ["test/support/setup.ts"],
    // Two cores, real servers: files run in two workers, and a slow, shared machine is given time.
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 180_000,
    hookTimeout: 300_000,
    teardownTimeout: 20_000,
  },
});
