/** Runs one part of the web application: `node main.ts PART ARGUMENTS`, with the hub's address and the token in the environment. Prints what it is told as JSON. */
import { client } from "../../packages/client/index.ts";
import { correct, find, follow, register, settle, waiting } from "./register.ts";
import type { Tributary } from "./tributary.d.ts";

const { HUB_URL = "", HUB_TOKEN = "", WAIT_MS = "" } = process.env;
const [part = "", first = "", second = ""] = process.argv.slice(2);
const hub = client<Tributary>(HUB_URL, { token: HUB_TOKEN });
const waitMs = Number(WAIT_MS);

const parts: Readonly<Record<string, () => Promise<unknown>>> = {
  register: () =>
    register(
      hub,
      {
        registration_no: first,
        given_name: "Achol",
        sex: "female",
        registered_on: "2026-05-03",
        phone: second,
        household_size: 4,
      },
      waitMs,
    ),
  correct: () => correct(hub, first, second),
  follow: () => follow(hub, first, second),
  waiting: () => waiting(hub),
  settle: () => settle(hub, first, { pick: second, note: "it rings" }, waitMs),
  find: () => find(hub, first, second),
  me: () => hub.me(),
};
const run = parts[part];
if (run === undefined) throw new Error(`there is no ${part}`);
console.log(JSON.stringify(await run()));
