import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { covers, type LogEntry } from "../../services/core/index.ts";
import { type Field, openField } from "../../services/field/index.ts";
import { issueToken, type JWK, makeKey } from "../../services/http/index.ts";
import { type Ingress, startIngress } from "../../services/ingress/index.ts";
import { type Backend, startNats } from "../../services/local/index.ts";
import { beginIncarnation, currentIncarnation, type Log, openLog } from "../../services/log/index.ts";
import { type EmbeddedNode, startNode } from "../../services/log/node/index.ts";
import { newDir } from "./home.ts";
import { gate } from "./hub.ts";
import { all } from "./temp.ts";

/** A hub's door without its views: a broker, a log on disk, and ingress between them. */
export interface TestDoor {
  readonly dir: string;
  readonly nats: Backend;
  readonly natsUrl: string;
  readonly httpUrl: string;
  readonly log: Log;
  readonly said: Record<string, unknown>[];
  token(site: string): Promise<string>;
  field(site: string, options?: { device?: string; path?: string }): Field;
  /** All events in the log. */
  entries(): Promise<LogEntry[]>;
  /** The event store goes away, and comes back at its address. */
  stopLog(): Promise<void>;
  startLog(): Promise<void>;
  stopIngress(): Promise<void>;
  startIngress(): Promise<void>;
  /** Copies the log's files aside; puts such a copy where the log is and begins a new incarnation, as an operator does. */
  backupLog(name: string): Promise<void>;
  restoreLog(name: string): Promise<void>;
  close(): Promise<void>;
}

export async function openDoor(): Promise<TestDoor> {
  const dir = newDir("door");
  const nats = await startNats({ dataDir: dir });
  const key: JWK = await makeKey("test");
  const logDir = join(dir, "log");
  let node: EmbeddedNode | null = await startNode({ dataDir: logDir });
  const { port, url } = node;
  let log = openLog(url);
  const said: Record<string, unknown>[] = [];
  const begin = (): Promise<Ingress> =>
    startIngress({
      org: "relief",
      natsUrl: nats.url,
      log,
      gate,
      keys: { keys: [key] },
      listen: { host: "127.0.0.1", port: 0 },
      say: (event) => said.push(event),
    });
  let ingress: Ingress | null = await begin();
  const fields: Field[] = [];
  const door: TestDoor = {
    dir,
    nats,
    natsUrl: nats.url,
    get httpUrl() {
      return ingress!.http!.url;
    },
    get log() {
      return log;
    },
    said,
    token: (site) => issueToken(key, { org: "relief", site, lifetimeS: 3600, nowMs: Date.now() }),
    field(site, { device = "t1", path } = {}) {
      const field = openField({
        path: path ?? join(dir, `${site}-${device}.db`),
        name: { org: "relief", site, device },
        schemas: gate,
      });
      fields.push(field);
      return field;
    },
    entries: () => all(log.readAll()),
    async stopLog() {
      await node?.close();
      node = null;
    },
    async startLog() {
      node = await startNode({ dataDir: logDir, port });
    },
    async stopIngress() {
      await ingress?.close();
      ingress = null;
    },
    async startIngress() {
      ingress = await begin();
    },
    async backupLog(name) {
      await door.stopLog();
      cpSync(logDir, join(dir, name), { recursive: true });
      await door.startLog();
    },
    async restoreLog(name) {
      await door.stopIngress();
      await door.stopLog();
      await log.close();
      rmSync(logDir, { recursive: true });
      cpSync(join(dir, name), logDir, { recursive: true });
      await door.startLog();
      log = openLog(url);
      const { id } = await currentIncarnation(log.journal);
      await beginIncarnation(log.journal, id, { how: "restored", by: "test" });
      await door.startIngress();
    },
    async close() {
      for (const field of fields) field.close();
      await ingress?.close();
      await log.close();
      await node?.close();
      await nats.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
  return door;
}

/** What an author wrote and had seen, by the label in the event's data. */
export interface Written {
  readonly label: string;
  readonly entity: string;
  /** Labels of the events about the same entity that the author's database held. */
  readonly saw: readonly string[];
}

/**
 * What is wrong with the log, compared with what was written: an event that is missing or there twice, one that covers what its author had not seen (and so mutes
 * it), or that does not cover what its author had seen (and so shows a false conflict).
 */
export function faultsOf(entries: readonly LogEntry[], written: readonly Written[]): string[] {
  const faults: string[] = [];
  const byLabel = new Map<string, LogEntry>();
  for (const entry of entries) {
    if (entry.content.kind !== "accepted") continue;
    const label = String(entry.content.data.village);
    if (byLabel.has(label)) faults.push(`${label} is there twice`);
    byLabel.set(label, entry);
  }
  for (const { label } of written) if (!byLabel.has(label)) faults.push(`${label} is lost`);
  for (const { label, entity, saw } of written) {
    const event = byLabel.get(label);
    if (event === undefined) continue;
    for (const other of written) {
      const before = byLabel.get(other.label);
      if (other.label === label || other.entity !== entity || before === undefined) continue;
      const isCovered = covers(event.head.basis, before.head);
      if (isCovered && !saw.includes(other.label)) faults.push(`${label} covers ${other.label}, which its author had not seen`);
      if (!isCovered && saw.includes(other.label))
        faults.push(`${label} does not cover ${other.label}, which its author had seen`);
    }
  }
  return faults;
}
