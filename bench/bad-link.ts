/**
 * `npm run bench -- --bad-link`: how long 1,000 incompressible events of 600 B take over a bad link, and how much is sent for them. In go a hub and a token; out
 * come the seconds, and the bytes sent for each byte of the events.
 */
import { randomBytes } from "node:crypto";
import type { Field } from "../services/field/index.ts";
import { openLink } from "../test/support/link.ts";

const EVENTS = 1_000;
const EVENT_BYTES = 600;
/** 64 kbit/s, a satellite's delay, and a link that never holds for long. */
const LINK = { bytesPerS: 8_000, delayMs: 800, cutEveryMs: 20_000 };

export async function benchBadLink(
  field: Field,
  natsUrl: string,
  token: string,
): Promise<{ readonly seconds: number; readonly sentOverNeeded: number }> {
  await field.appendMany(
    Array.from({ length: EVENTS }, (_, i) => ({
      type: "beneficiary.updated",
      entity: { type: "beneficiary", id: `BAD-${i}` },
      data: { village: randomBytes((EVENT_BYTES * 3) / 4).toString("base64") },
      actor: "officer-1",
    })),
    { onInvalid: "keep" },
  );
  const link = await openLink({ host: "127.0.0.1", port: Number(new URL(natsUrl.replace("nats:", "http:")).port) }, LINK);
  const startedMs = performance.now();
  try {
    // With the hub's own login, as the token here was not made by `site add`.
    const url = natsUrl.replace(/:\d+$/, `:${link.port}`);
    const { confirmed, sentBytes } = await field.sync({ url, token, maxTries: 30 });
    if (confirmed !== EVENTS) throw new Error(`${confirmed} of ${EVENTS} events got through the bad link`);
    return { seconds: (performance.now() - startedMs) / 1000, sentOverNeeded: sentBytes / (EVENTS * EVENT_BYTES) };
  } finally {
    await link.close();
  }
}
