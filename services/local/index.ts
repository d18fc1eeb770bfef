/**
 * One machine's backends. In goes a data directory; out come running servers: those the environment names, else containers, else
 * programs on PATH, else embedded ones. Never a server replaced silently when the one that was named does not answer.
 */
import type { Backend, StartOptions } from "./backend.ts";
import { startEventStore } from "./eventstore.ts";
import { lockDirectory } from "./lock.ts";
import { startNats } from "./nats.ts";
import { startPostgres } from "./postgres.ts";

export interface Backends {
  readonly nats: Backend;
  readonly eventstore: Backend;
  readonly postgres: Backend;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts all three, or none: when one fails, those begun are closed again. The data directory belongs to this process until `close`. */
export async function startBackends(
  options: Omit<StartOptions, "port"> & { readonly ports?: Partial<Record<Backend["name"], number>> },
): Promise<Backends> {
  const { dataDir, ports = {}, say = () => {}, eventstoreArgs } = options;
  const unlock = lockDirectory(dataDir, say);
  const common = (name: Backend["name"]): StartOptions => ({
    dataDir,
    say,
    ...(ports[name] === undefined ? {} : { port: ports[name] }),
    ...(eventstoreArgs === undefined ? {} : { eventstoreArgs }),
  });
  const started = await Promise.allSettled([
    startNats(common("nats")),
    startEventStore(common("eventstore")),
    startPostgres(common("postgres")),
  ]);
  const backends = started.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  const close = async (): Promise<void> => {
    await Promise.allSettled(backends.map((backend) => backend.close()));
    unlock();
  };
  const failed = started.find((result) => result.status === "rejected");
  if (failed !== undefined) {
    await close();
    throw failed.reason;
  }
  const [nats, eventstore, postgres] = backends as [Backend, Backend, Backend];
  return { nats, eventstore, postgres, close, [Symbol.asyncDispose]: close };
}

export type { Backend, StartOptions } from "./backend.ts";
export { accountsText, admitSite, hasOwnBroker, type SiteLogin, withdrawSites } from "./broker-logins.ts";
export { startEventStore } from "./eventstore.ts";
export { type NatsFiles, natsSettings, startNats } from "./nats.ts";
export { startPostgres } from "./postgres.ts";
export { freePort, isAlive, removeAbandoned } from "./process.ts";
