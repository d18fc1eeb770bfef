/** Serving pulls: what a poll costs while nothing changes, with many sites; and what a change costs on its way down, from PostgreSQL to the signed frame. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Client } from "pg";
import { SCHEMAS_DIR } from "../services/cli/program.ts";
import {
  type BucketHead,
  type BucketId,
  type Cursor,
  FEED_START,
  type IncarnationId,
  type JsonObject,
  messageText,
  type PublicKey,
} from "../services/core/index.ts";
import { isSignedBy, makeKeyPair, sha256Hex, signerOf, zstd } from "../services/core/node.ts";
import { type Asker, openPostgresFeed, type Server, serve } from "../services/exchange/index.ts";
import {
  encodePage,
  type Holding,
  type Page,
  type PullRequest,
  pageText,
  pullRequestSchema,
  summaryText,
} from "../services/exchange/protocol/index.ts";
import { createGate, type Gate } from "../services/gate/index.ts";
import { loadSchemas } from "../services/gate/node.ts";
import type { Log } from "../services/log/index.ts";
import type { View } from "../services/merge/engine.ts";
import { openMemoryHub } from "../test/support/memory-hub.ts";
import { districtPolicy, people, personNo, registered } from "../test/support/people.ts";
import { fillLog } from "./device.ts";
import { startProjector, stopProjector } from "./projectors.ts";
import { eventsOf } from "./workload.ts";

type Note = (name: string, value: number) => void;

const SITES = [1, 100, 1_000];
/** Polls that are measured for each number of sites, and others before them. */
const POLLS = 5_000;
const WARM_UP = 2_000;
const POLL_MS = 20;
const MICRO = 1_000;

/** A device that asks, with its key. */
interface Device {
  readonly name: string;
  readonly key: PublicKey;
  request(asked: JsonObject): string;
}

function deviceAt(site: string): Device {
  const signer = signerOf(makeKeyPair());
  const name = `bench.${site}.t1`;
  return {
    name,
    key: signer.key,
    request(asked) {
      const { kty, crv, x } = signer.key;
      const whole = {
        ...{ kind: "pull", device: name, protocol: { oldest: 1, newest: 3 }, nonce: "0123456789abcdef", sentAtMs: 1 },
        ...{ holding: null, buckets: {}, ...asked },
        key: { kty, crv, x },
      };
      return JSON.stringify({ ...whole, signature: signer.sign(messageText("pull", whole)) });
    },
  };
}

const hubSigner = signerOf(makeKeyPair());

/** What a hub does for a pull between the network's two ends: reads it, checks its signature, answers, packs and signs the page. */
async function answered(server: Server, gate: Gate, device: Device, text: string): Promise<{ page: Page; bytes: number }> {
  const raw = JSON.parse(text) as JsonObject;
  const request: PullRequest = pullRequestSchema.parse(raw);
  if (!isSignedBy(device.key, messageText("pull", raw), request.signature!)) throw new Error("the request is not signed");
  const [org, site] = device.name.split(".") as [string, string, string];
  const asker: Asker = {
    holder: { kind: "site", org, site },
    device: device.name,
    hub: "aaaaaaaaaaaa" as IncarnationId,
    incarnation: "aaaaaaaaaaaa" as IncarnationId,
    nowMs: Date.now(),
  };
  const page = await server.answer(request, asker);
  const frame = encodePage(page, {
    compression: zstd,
    pack: (schema, data) => gate.payload(schema, data, true),
    sha256: sha256Hex,
    sign: (digest) => hubSigner.sign(pageText(request.nonce, digest)),
  });
  return { page, bytes: frame.length };
}

const cpuMicros = (): number => {
  const { user, system } = process.cpuUsage();
  return user + system;
};

/** The heap after all garbage is gone, in MiB. */
function heapMb(): number {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  return process.memoryUsage().heapUsed / 1_048_576;
}

/** Polls of sites with a district of their own each, and one that all hold, over a hub in memory: `pull-idle` is CPU µs a poll with 1,000 sites. */
export async function benchIdle(note: Note): Promise<void> {
  const hub = await openMemoryHub({ views: [people], org: "bench" });
  const writer = hub.device("nairobi");
  const most = Math.max(...SITES);
  for (let n = 0; n < most; n++) {
    await writer.write(registered(personNo(n), `District ${n}`));
    await hub.setPolicy(districtPolicy(`site-${n}`, { sites: [`bench.site-${n}`] }, [`District ${n}`, "District 0"]));
  }
  await hub.seal();
  const devices = Array.from({ length: most }, (_, n) => deviceAt(`site-${n}`));
  for (const count of SITES) {
    const before = heapMb();
    const server = serve(hub.store, { views: hub.views });
    const polls: { readonly device: Device; readonly text: string }[] = [];
    for (const device of devices.slice(0, count)) {
      const { page } = await answered(server, hub.gate, device, device.request({ summary: "" }));
      const { digest } = page.holding as Holding;
      polls.push({ device, text: device.request({ holding: digest, summary: sha256Hex(summaryText(digest, page.ends!)) }) });
    }
    if (count === most) note("pull-idle-heap-mb", Math.max(0, heapMb() - before - textMb(polls)));
    const poll = async (n: number): Promise<void> => {
      for (let i = 0; i < n; i++) {
        const { device, text } = polls[i % polls.length]!;
        const { page } = await answered(server, hub.gate, device, text);
        if (page.ends !== null || page.holding !== null) throw new Error("an idle poll was told something");
      }
    };
    await poll(WARM_UP);
    const startedMicros = cpuMicros();
    await poll(POLLS);
    note(count === most ? "pull-idle" : `pull-idle-${count}`, (cpuMicros() - startedMicros) / POLLS);
  }
}

const textMb = (polls: readonly { readonly text: string }[]): number =>
  polls.reduce((sum, { text }) => sum + text.length, 0) / 1_048_576;

export interface ChangesBench {
  readonly dir: string;
  readonly db: Client;
  readonly log: Log;
  readonly postgresUrl: string;
  readonly views: readonly View[];
  readonly events: number;
}

/** Follows all that two sites wrote, from PostgreSQL, in pages of a thousand events: `pull-changes` is µs an event, from PostgreSQL to the signed frame. */
export async function benchChanges({ dir, db, log, postgresUrl, views, events }: ChangesBench, note: Note): Promise<void> {
  const projector = await startProjector(dir);
  const gate = createGate(loadSchemas(SCHEMAS_DIR));
  const feed = openPostgresFeed({ postgresUrl, views, entryAt: (origin, seq) => log.at(origin, seq) });
  try {
    const first = await fillLog(log, { hub: [everything()], nairobi: eventsOf("nairobi", 200, 1) });
    await sealed(db, first);
    const before = new Map((await feed.headsAfter(0)).map((head) => [head.bucket, head]));
    const count = await fillLog(log, { kampala: eventsOf("kampala", events, 2) });
    await sealed(db, first + count);
    const server = serve(feed, { views, schemas: () => gate.store });
    const device = deviceAt("juba");
    const { page } = await answered(server, gate, device, device.request({}));
    const cursors = new Map<BucketId, Cursor>();
    for (const { bucket, entityType } of page.holding!.buckets)
      if (["beneficiary", "distribution"].includes(entityType)) cursors.set(bucket, cursorAt(before.get(bucket)));
    const startedMs = performance.now();
    const { told, bytes } = await followed(server, gate, device, cursors);
    const spentMs = performance.now() - startedMs;
    if (told < count) throw new Error(`${told} of ${count} events came down`);
    note("pull-changes", (spentMs * MICRO) / told);
    process.stderr.write(`pull-changes: ${told} events in ${Math.round(bytes / told)} bytes each\n`);
  } finally {
    await feed.close();
    await stopProjector(projector);
  }
}

/** The policy by which every site holds all. */
const everything = () => ({
  type: "policy.set",
  entity: { type: "policy", id: "everything" },
  actor: "bench",
  data: { for: "everyone", entities: { beneficiary: {}, distribution: {} } },
});

const cursorAt = (head: BucketHead | undefined): Cursor =>
  head === undefined ? FEED_START : { ...FEED_START, seal: head.seal, head: head.head };

/** Waits until so many events are folded, and all of them sealed. */
async function sealed(db: Client, events: number): Promise<void> {
  for (;;) {
    const { rows } = await db.query<{ events: string; open: string }>(
      "SELECT (SELECT count(*) FROM tributary.audit) AS events, (SELECT count(*) FROM tributary.feed WHERE seal IS NULL) AS open",
    );
    if (Number(rows[0]!.events) >= events && Number(rows[0]!.open) === 0) return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Pulls until no bucket has anything new. */
async function followed(
  server: Server,
  gate: Gate,
  device: Device,
  cursors: Map<BucketId, Cursor>,
): Promise<{ readonly told: number; readonly bytes: number }> {
  let [told, bytes] = [0, 0];
  for (;;) {
    const buckets = Object.fromEntries([...cursors].map(([id, at]) => [id, { kind: "follow", at: { ...at } }]));
    const { page, bytes: frame } = await answered(server, gate, device, device.request({ buckets, maxBytes: 1_000_000 }));
    bytes += frame;
    for (const section of page.sections) {
      if (section.kind !== "lines") throw new Error(`the hub answered ${section.kind}`);
      cursors.set(section.bucket, section.to);
      told += section.lines.reduce((sum, { events }) => sum + events.length, 0);
    }
    if (!page.more) return { told, bytes };
  }
}
