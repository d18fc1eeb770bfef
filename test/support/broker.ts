import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ConnectionOptions, connect, credsAuthenticator, type NatsConnection, nkeyAuthenticator } from "nats";
import { type NatsSettings, natsConnect } from "../../services/core/index.ts";
import { freePort, startNats } from "../../services/local/index.ts";
import { eventually, sleep } from "./temp.ts";

/** Connects as the user that the address and the settings name, for instance the hub's operator. */
export const connectAs = (url: string, settings: NatsSettings = {}, more: ConnectionOptions = {}): Promise<NatsConnection> =>
  connect({ ...natsConnect(url, settings, { creds: credsAuthenticator, nkey: nkeyAuthenticator }), reconnect: false, ...more });

/** What subscriptions receive while `work` goes on; if `queues` says so, each also as a member of a queue. A subscription that fails counts as receiving nothing. */
export async function overheard(
  nc: NatsConnection,
  subjects: readonly string[],
  work: () => Promise<unknown>,
  queues: readonly (string | undefined)[] = [undefined],
): Promise<string[]> {
  const heard: string[] = [];
  for (const subject of subjects)
    for (const queue of queues)
      nc.subscribe(subject, {
        ...(queue === undefined ? {} : { queue }),
        callback: (error, message) => {
          if (error === null) heard.push(message.subject);
        },
      });
  await nc.flush().catch(() => {});
  await work();
  await nc.flush().catch(() => {});
  await sleep(200);
  return heard;
}

let found: Promise<string> | null = null;
/** The nats-server of this machine, found or fetched as the hub does it. */
export function natsServer(dir: string): Promise<string> {
  found ??= (async () => {
    const saved = process.env.TRIBUTARY_NATS_URL;
    delete process.env.TRIBUTARY_NATS_URL;
    const server = await startNats({ dataDir: dir });
    if (saved !== undefined) process.env.TRIBUTARY_NATS_URL = saved;
    await server.close();
    const program = /\((.*)\)$/.exec(server.detail)?.[1];
    if (program === undefined) throw new Error(`the broker is not a program of this machine: ${server.detail}`);
    return program;
  })();
  return found;
}

export interface TestServer {
  readonly port: number;
  readonly child: ChildProcess;
  end(signal?: NodeJS.Signals): Promise<void>;
}

/** A nats-server with a configuration of the test's own; `config` is given the port. */
export async function serveNats(
  dir: string,
  config: (port: number, store: string) => string,
  port?: number,
): Promise<TestServer> {
  const program = await natsServer(join(dir, "found"));
  const chosen = port ?? (await freePort());
  const own = join(dir, `nats-${chosen}`);
  mkdirSync(own, { recursive: true });
  writeFileSync(join(own, "nats.conf"), config(chosen, join(own, "store")));
  const child = spawn(program, ["-c", join(own, "nats.conf")], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-8_000);
  });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  await eventually("the server's start", async () => {
    if (child.exitCode !== null) throw new Error(said);
    return said.includes("Server is ready");
  });
  return {
    port: chosen,
    child,
    async end(signal = "SIGKILL") {
      child.kill(signal);
      await ended;
    },
  };
}
