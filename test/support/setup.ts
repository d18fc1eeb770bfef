import fc from "fast-check";
import { afterAll } from "vitest";

// A failing property is shrunk for a bounded time; its seed is printed either way.
fc.configureGlobal({ interruptAfterTimeLimit: 120_000, markInterruptAsFailure: true });

// Files share a process: what one sets in its environment ends with it.
const environment = { ...process.env };
afterAll(() => {
  for (const name of Object.keys(process.env)) if (!(name in environment)) delete process.env[name];
  Object.assign(process.env, environment);
});
