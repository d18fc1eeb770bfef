/**
 * `npm run bench -- --only-hello [--hello-gb N]`: what a hello costs where an origin is long. In go a hub, its log and a token, out come the median of hellos on an
 * origin of N GB, the same over that of an origin of two events, and the most memory that the door's process has had.
 */
import { readFileSync } from "node:fs";
import type { Hub } from "../services/cli/supervise.ts";
import type { OriginHead, Seq } from "../services/core/index.ts";
import { openTransport } from "../services/field/transport.ts";
import type { Log } from "../services/log/index.ts";
import { versionOne } from "../test/support/version1.ts";
import { type Device, openDevice } from "./device.ts";

/** A form with a small picture. */
const EVENT_BYTES = 20_000;
/** Events a call. */
const RUN = 20;
const HELLOS = 25;
const WARM_UP = 5;
const REPLY_TIMEOUT_MS = 120_000;
/** As many as one hello may ask for: this is how a copy looks for the last event that it shares with the log. */
const HASHES = 15;

export async function benchHello(
  { hub, log, gigabytes }: { readonly hub: Hub; readonly log: Log; readonly gigabytes: number },
  tokenFor: (site: string) => Promise<string>,
  note: (name: string, value: number) => void,
): Promise<void> {
  const [short, long] = [openDevice("short"), openDevice("long")];
  await fill(log, short, 2, 100);
  const count = Math.ceil((gigabytes * 1e9) / EVENT_BYTES);
  await fill(log, long, count, EVENT_BYTES);
  const ofShort = await helloMs(hub, short, 2, 0, await tokenFor("short"));
  const token = await tokenFor("long");
  const ofLong = await helloMs(hub, long, count, 0, token);
  note("hello-long-ms", ofLong);
  note("hello-long", ofLong / ofShort);
  note("hello-long-hashes-ms", await helloMs(hub, long, count, HASHES, token));
  note("hello-ingress-rss-mb", peakMb(hub.ingress.pid()!));
}

/** Events of one origin, as its device would have written them, straight into the log. */
async function fill(log: Log, device: Device, count: number, bytes: number): Promise<void> {
  let head: OriginHead | null = null;
  const village = "x".repeat(bytes);
  for (let i = 0; i < count; i += RUN) {
    const run = Array.from({ length: Math.min(RUN, count - i) }, (_, k) =>
      device.write({
        type: "beneficiary.updated",
        entity: { type: "beneficiary", id: `H-${i + k}` },
        data: { village },
        actor: "officer-1",
      }),
    );
    const outcome = await log.append(run, head);
    if (outcome.kind !== "appended") throw new Error(`${device.origin}: ${outcome.kind}`);
    head = outcome.head;
  }
}

/** The median of hellos over HTTP, each asking where the origin stands and for so many of its events' hashes. */
async function helloMs(hub: Hub, { origin }: Device, count: number, hashes: number, token: string): Promise<number> {
  const [org = "", site = "", device = ""] = origin.split(".");
  const transport = await openTransport({
    ...{ url: hub.state.httpUrl, token, identity: versionOne },
    name: { org, site, device },
    replyTimeoutMs: REPLY_TIMEOUT_MS,
  });
  const times: number[] = [];
  try {
    for (let i = 0; i < WARM_UP + HELLOS; i++) {
      const hashesOf = Array.from({ length: hashes }, (_, k) => Math.floor((k * (count - 1)) / hashes) as Seq);
      const startedMs = performance.now();
      const answer = await transport.hello({ origin, since: (count - 1) as Seq, ...(hashes === 0 ? {} : { hashesOf }) });
      times.push(performance.now() - startedMs);
      if (answer.kind !== "hello" || answer.hello.receipt.through !== count - 1)
        throw new Error(`the hello was answered with ${JSON.stringify(answer).slice(0, 200)}`);
    }
  } finally {
    await transport.close();
  }
  return times.slice(WARM_UP).sort((a, b) => a - b)[Math.floor(HELLOS / 2)]!;
}

/** The most memory that a process has had, in MiB. */
const peakMb = (pid: number): number => Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
