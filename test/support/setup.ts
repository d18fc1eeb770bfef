import fc from "fast-check";
import { afterAll } from "vitest";
import { moveIn, moveOut } from "./home.ts";
import { PROPERTY_MS } from "./patience.ts";

// A failing property is shrunk for a bounded time; its seed is printed either way.
fc.configureGlobal({ interruptAfterTimeLimit: PROPERTY_MS, markInterruptAsFailure: true });

const home = moveIn();

// Files share a process: what one sets in its environment ends with it, and so does what it has started.
const environment = { ...process.env };
afterAll(() => {
  for (const name of Object.keys(process.env)) if (!(name in environment)) delete process.env[name];
  Object.assign(process.env, environment);
  moveOut(home);
});
