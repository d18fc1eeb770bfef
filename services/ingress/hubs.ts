import { hostname } from "node:os";
import type { NatsConnection } from "nats";
import { z } from "zod";
import { fromJson, quietly, toJson } from "./reply.ts";

/** On this subject every process that takes batches says which hub it belongs to. */
const SUBJECT = "tributary.hubs";
const ANNOUNCE_MS = 5_000;
/** A process that was not heard of for so long is gone. */
const GONE_MS = 3 * ANNOUNCE_MS + 1_000;
/** So many processes are remembered at most, because whoever may publish here could invent any number. */
const MAX_HEARD = 1_000;

const announcementSchema = z.object({
  log: z.string().regex(/^[a-z2-7]{12}$/),
  name: z.string().max(200),
  process: z.uuid(),
  leaves: z.boolean().optional(),
});
type Announcement = z.infer<typeof announcementSchema>;

/** Who else takes batches from this broker. */
export interface Hubs {
  /** Other processes of this hub: they write to the same log. */
  peers(): number;
  /** Hubs with another log. They and this hub would split each device's batches between them. */
  strangers(): { readonly log: string; readonly name: string }[];
  close(): void;
}

/** Announces this process, and listens for others. Two hubs on one broker hear of each other within seconds. */
export function meetHubs({
  nc,
  logId,
  name,
  say,
}: {
  nc: NatsConnection;
  logId: () => string | null;
  name: string;
  say: (event: Record<string, unknown>) => void;
}): Hubs {
  const me = crypto.randomUUID();
  const heard = new Map<string, Announcement & { readonly atMs: number }>();
  const told = new Set<string>();

  const announce = (leaves = false): void => {
    const log = logId();
    if (log === null || nc.isClosed()) return;
    const words = { log, name: `${name} at ${hostname()}`.slice(0, 200), process: me, ...(leaves ? { leaves } : {}) };
    quietly(say, "announcement", () => nc.publish(SUBJECT, toJson(words)));
  };
  const alive = (): Announcement[] => {
    const now = Date.now();
    for (const [process, { atMs }] of heard) if (now - atMs > GONE_MS) heard.delete(process);
    return [...heard.values()];
  };
  const tell = ({ log, name }: Announcement): void => {
    if (log === logId() || logId() === null || told.has(log) || told.size >= MAX_HEARD) return;
    told.add(log);
    say({
      event: "another-hub",
      log,
      name,
      message: `another hub (${name}), with another log, takes batches from this broker: devices' events are split between both. Stop one of them`,
    });
  };

  const listening = nc.subscribe(SUBJECT, {
    callback: (failure, message) => {
      if (failure !== null) return;
      const said = announcementSchema.safeParse(fromJson(message.data));
      if (!said.success || said.data.process === me) return;
      const { process, leaves } = said.data;
      const isNew = !heard.has(process);
      if (leaves === true) heard.delete(process);
      else if (!isNew || heard.size < MAX_HEARD) heard.set(process, { ...said.data, atMs: Date.now() });
      if (leaves === true) return;
      tell(said.data);
      // It may have started after our last announcement, and should not wait for the next.
      if (isNew && heard.has(process)) announce();
    },
  });
  announce();
  const timer = setInterval(() => announce(), ANNOUNCE_MS);

  return {
    peers: () => alive().filter(({ log }) => log === logId()).length,
    strangers: () => alive().filter(({ log }) => logId() !== null && log !== logId()),
    close() {
      clearInterval(timer);
      announce(true);
      listening.unsubscribe();
    },
  };
}
