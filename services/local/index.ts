/**
 * One machine's backends. In goes a data directory; out come running servers: those the environment names, else containers, else
 * programs on PATH, else embedded ones. If a server that was named does not answer, it is never silently replaced by another.
 */
import type { TributaryError } from "../core/index.ts";
import { type Backend, portOf, type StartOptions } from "./backend.ts";
import { startEventStore } from "./eventstore.ts";
import { keepServer } from "./keep.ts";
import { lockDirectory } from "./lock.ts";
import { startNats } from "./nats.ts";
import { startPostgres } from "./postgres.ts";
import { roomOf } from "./room.ts";

export interface Backends {
  readonly nats: Backend;
  readonly eventstore: Backend;
  readonly postgres: Backend;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export type Ports = Partial<Record<Backend["name"], number>>;

export interface BackendsOptions extends Omit<StartOptions, "port" | "lastPort"> {
  /** Ports that were asked for, and those of the last run. */
  readonly ports?: Ports;
  readonly lastPorts?: Ports;
  /** Servers that end are started again; `onGivenUp` when one does not come back. Without it they stay as they are. */
  readonly keep?: { readonly onGivenUp: (error: TributaryError) => void };
}

const STARTS = { nats: startNats, eventstore: startEventStore, postgres: startPostgres } as const;

/** Starts all three, or none: if one fails, those already started are closed again. The data directory belongs to this process until `close`. */
export async function startBackends(options: BackendsOptions): Promise<Backends> {
  const { dataDir, ports = {}, lastPorts = {}, say = () => {}, keep, ...others } = options;
  const unlock = lockDirectory(dataDir, say);
  const start = async (name: Backend["name"]): Promise<Backend> => {
    const common = { ...others, dataDir, say };
    const [port, lastPort] = [ports[name], lastPorts[name]];
    const first = await STARTS[name]({
      ...common,
      ...(port === undefined ? {} : { port }),
      ...(lastPort === undefined ? {} : { lastPort }),
    });
    const again = (signal: AbortSignal): Promise<Backend> => STARTS[name]({ ...common, port: portOf(first.url), signal });
    return keep === undefined
      ? first
      : keepServer(first, again, { say, onGivenUp: keep.onGivenUp, room: () => roomOf(dataDir, name) });
  };
  const started = await Promise.allSettled([start("nats"), start("eventstore"), start("postgres")]);
  const backends = started.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  const close = async (): Promise<void> => {
    await Promise.allSettled(backends.map((backend) => backend.close()));
    unlock();
  };
  const [nats, eventstore, postgres] = started;
  if (nats.status === "fulfilled" && eventstore.status === "fulfilled" && postgres.status === "fulfilled")
    return { nats: nats.value, eventstore: eventstore.value, postgres: postgres.value, close, [Symbol.asyncDispose]: close };
  await close();
  throw started.find((result) => result.status === "rejected")?.reason;
}

export { type Backend, portOf, type StartOptions } from "./backend.ts";
export {
  accountsText,
  admitSite,
  alignLogins,
  hasOwnBroker,
  keptLogins,
  LOGINS_FILE,
  type SiteLogin,
  userLine,
  withdrawSites,
} from "./broker-logins.ts";
export { startEventStore } from "./eventstore.ts";
export { workFolder } from "./folder.ts";
export { lockDirectory, ownerOf } from "./lock.ts";
export { openLogFile } from "./logs.ts";
export { type NatsFiles, natsSettings, startNats } from "./nats.ts";
export { silenceOf } from "./ping.ts";
export { canHoldDatabase, startPostgres } from "./postgres.ts";
export { choosePort, freePort, isAlive, removeAbandoned } from "./process.ts";
