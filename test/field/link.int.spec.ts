import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openPace } from "../../services/field/pace.ts";
import type { SyncProgress } from "../../services/field/push/pass.ts";
import { openDoor, type TestDoor } from "../support/device-hub.ts";
import { number, update } from "../support/hub.ts";
import { type Link, openLink } from "../support/link.ts";
import { sleep } from "../support/temp.ts";

let door: TestDoor;
beforeAll(async () => {
  door = await openDoor();
});
afterAll(() => door?.close());

/** Events that nothing compresses. */
const noise = (count: number, bytes: number) =>
  Array.from({ length: count }, (_, i) => update(number(i), { village: randomBytes(bytes * 0.75).toString("base64") }));
/** The same address and login, by way of the link. */
const through = (url: string, { port }: Link): string => url.replace(/:\d+$/, `:${port}`);
const linkTo = (url: string, options: Parameters<typeof openLink>[1]): Promise<Link> =>
  openLink({ host: "127.0.0.1", port: Number(new URL(url).port) }, options);

describe("a sync over a bad link", () => {
  /** 64 kbit/s, 800 ms each way and a cut every 20 s, five times as fast. Over HTTP, where each batch waits for its answer, fewer bytes go up in that time. */
  const BAD = { bytesPerS: 40_000, delayMs: 160 };

  it.each([
    ["nats", 1_000, 160_000],
    ["http", 250, 40_000],
  ] as const)(
    "over %s gets %i events of 600 B through, though fewer than 500 fit between two cuts",
    async (way, count, cutEveryBytes) => {
      const site = `cut-${way}`;
      const field = door.field(site);
      await field.appendMany(noise(count, 600), { onInvalid: "keep" });
      const url = door[`${way}Url`];
      const link = await linkTo(url, { ...BAD, cutEveryBytes });
      try {
        const result = await field.sync({
          url: through(url, link),
          token: await door.token(site),
          // What takes a satellite link twenty seconds happens here in four.
          sleep: (ms) => sleep(ms / 5),
          maxTries: 100,
        });
        expect(result).toMatchObject({ confirmed: count, pending: 0 });
        expect(link.cuts).toBeGreaterThan(0);
        // The count is of what was sent, also in vain: it is never less than what had to come through. 600 letters of noise are 450 bytes.
        expect(result.sentBytes).toBeGreaterThan(450 * count);
        expect(result.sentBytes).toBeLessThan(3_000 * count);
      } finally {
        await link.close();
      }
      expect((await door.entries()).filter(({ head }) => head.origin.startsWith(`relief.${site}.`))).toHaveLength(count);
    },
  );

  it("waits for a link that is slow but works, and sends one event at a time if it must", async () => {
    const field = door.field("slow");
    await field.appendMany(noise(30, 600), { onInvalid: "keep" });
    // 2 kB/s: the first frame of 20 kB takes ten seconds, longer than an answer may take.
    const link = await linkTo(door.natsUrl, { bytesPerS: 2_000, delayMs: 50 });
    const waits: SyncProgress[] = [];
    try {
      const result = await field.sync({
        url: through(door.natsUrl, link),
        token: await door.token("slow"),
        onProgress: (progress) => {
          if (progress.kind === "waiting") waits.push(progress);
        },
      });
      expect(result).toMatchObject({ confirmed: 30, pending: 0 });
      expect(waits).toEqual([]);
    } finally {
      await link.close();
    }
  });

  it("counts what was sent for hellos and for what never arrived", async () => {
    const field = door.field("counted");
    const token = await door.token("counted");
    await field.append(update(number(1), { village: "x" }));
    const first = await field.sync({ url: door.natsUrl, token });
    const idle = await field.sync({ url: door.natsUrl, token });
    expect(idle).toMatchObject({ batches: 0, confirmed: 0 });
    expect(idle.sentBytes).toBeGreaterThan(token.length);
    expect(first.sentBytes).toBeGreaterThan(idle.sentBytes + token.length);
  });

  it("remembers between tries how much the link carries, halves frames that were cut off, and grows them again on a good link", () => {
    const field = door.field("pace");
    let now = 0;
    const pace = openPace(field.store, 1_000_000, () => now);
    expect(pace.frameBytes).toBe(64_000);
    expect(pace.mayFly(1)).toBe(false);
    pace.cut(64_000);
    now = 8_000;
    pace.cut(32_000);
    pace.remember();
    const next = openPace(field.store, 1_000_000);
    expect(next.frameBytes).toBe(16_000);
    // The connection lived for eight seconds, so a frame may take one second; 8 kB arrive in one.
    next.taken(16_000, 0, 2_000, true);
    expect(next.frameBytes).toBe(8_000);
    expect(next.mayFly(8_000)).toBe(true);
    expect(next.mayFly(8_001)).toBe(false);
    next.taken(8_000, 2_000, 2_001, true);
    expect(next.frameBytes).toBe(32_000);
    expect(next.mayFly(900_000)).toBe(true);
    expect(next.mayFly(990_000)).toBe(false);
    // An answer over HTTP may be slow because the hub is busy: that does not mean that the link is slow.
    next.taken(32_000, 2_001, 12_010, false);
    expect(next.frameBytes).toBe(32_000);
    for (let i = 0; i < 40; i++) next.cut(next.frameBytes);
    expect(next.frameBytes).toBe(256);
  });
});
