import { rmSync } from "node:fs";
import { join } from "node:path";
import { type Field, openField } from "../../services/field/index.ts";
import { openTransport } from "../../services/field/transport.ts";
import type { Transport } from "../../services/field/way.ts";
import type { Gate } from "../../services/gate/index.ts";
import { issueToken, type JSONWebKeySet, type JWK, makeKey } from "../../services/http/index.ts";
import { type Ingress, type IngressOptions, type PartChecks, type Pulls, startIngress } from "../../services/ingress/index.ts";
import { type Backend, startNats } from "../../services/local/index.ts";
import { type Log, openLog } from "../../services/log/index.ts";
import { type EmbeddedNode, type NodeOptions, startNode } from "../../services/log/node/index.ts";
import { newDir } from "./home.ts";
import { gate, ORG } from "./hub.ts";
import { WAIT_MS } from "./patience.ts";
import { versionOne } from "./version1.ts";

/** A hub's door on a real broker and a log whose servers the test may stop, empty and set back. Without views. */
export interface Door {
  readonly dir: string;
  readonly natsUrl: string;
  readonly log: Log;
  readonly said: Record<string, unknown>[];
  readonly key: JWK;
  ingress: Ingress;
  node: EmbeddedNode;
  nats: Backend;
  stopNode(): Promise<void>;
  /** Starts the event node where it was, on the same folder or another. */
  startNode(options?: NodeOptions): Promise<void>;
  /** Starts NATS again at its address, with its store or without. */
  restartNats(options?: { readonly emptied?: boolean }): Promise<void>;
  startIngress(options?: {
    readonly parts?: PartChecks;
    readonly log?: Log;
    readonly name?: string;
    readonly pulls?: Pulls | null;
    readonly keys?: JSONWebKeySet;
    readonly also?: IngressOptions["also"];
  }): Promise<Ingress>;
  token(site: string, lifetimeS?: number): Promise<string>;
  field(site: string, device?: string): Field;
  transport(site: string, device?: string, options?: { token?: string; replyTimeoutMs?: number }): Promise<Transport>;
  get(path: string): Promise<{ readonly status: number; readonly body: Record<string, unknown> }>;
  close(): Promise<void>;
}

export async function openDoor({
  node: nodeOptions = {},
  gate: hubGate = gate,
  pulls: doorPulls = null,
}: {
  node?: NodeOptions;
  gate?: Gate;
  pulls?: Pulls | null;
} = {}): Promise<Door> {
  const dir = newDir("door");
  const logDir = join(dir, "log");
  const natsDir = join(dir, "broker");
  const nats = await startNats({ dataDir: natsDir });
  const node = await startNode({ dataDir: logDir, ...nodeOptions });
  const key = await makeKey("test");
  const log = openLog(node.url);
  const said: Record<string, unknown>[] = [];
  const closers: (() => Promise<void> | void)[] = [];
  const door: Omit<Door, "ingress"> & { ingress?: Ingress } = {
    dir,
    natsUrl: nats.url,
    log,
    said,
    key,
    node,
    nats,
    async stopNode() {
      await door.node.close();
    },
    async startNode(options) {
      door.node = await startNode({ dataDir: logDir, port: node.port, ...options });
    },
    async restartNats({ emptied = false } = {}) {
      await door.nats.close();
      if (emptied) rmSync(join(natsDir, "nats"), { recursive: true, force: true });
      door.nats = await startNats({ dataDir: natsDir, port: Number(new URL(nats.url).port) });
    },
    async startIngress({ parts, log: other, name, pulls = doorPulls, keys = { keys: [key] }, also } = {}) {
      const ingress = await startIngress({
        org: "relief",
        natsUrl: nats.url,
        log: other ?? log,
        gate: hubGate,
        keys,
        listen: { host: "127.0.0.1", port: 0 },
        ...(parts === undefined ? {} : { parts }),
        ...(name === undefined ? {} : { name }),
        ...(pulls === null ? {} : { pulls }),
        ...(also === undefined ? {} : { also }),
        say: (event) => said.push(event),
      });
      closers.push(() => ingress.close());
      return ingress;
    },
    token: (site, lifetimeS = 3600) => issueToken(key, { org: ORG, site, lifetimeS, nowMs: Date.now() }),
    field(site, device = "t1") {
      const field = openField({ path: join(dir, `${site}-${device}.db`), name: { org: ORG, site, device }, schemas: hubGate });
      closers.push(() => field.close());
      return field;
    },
    async transport(site, device = "t1", { token, replyTimeoutMs = WAIT_MS } = {}) {
      const name = { org: ORG, site, device };
      const transport = await openTransport({
        identity: versionOne,
        url: nats.url,
        token: token ?? (await door.token(site)),
        name,
        replyTimeoutMs,
      });
      closers.push(() => transport.close());
      return transport;
    },
    async get(path) {
      const response = await fetch(`${door.ingress!.http!.url}${path}`);
      return { status: response.status, body: (await response.json()) as Record<string, unknown> };
    },
    async close() {
      for (const close of closers.reverse()) await close();
      await log.close();
      await door.node.close();
      await door.nats.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
  door.ingress = await door.startIngress();
  return door as Door;
}
