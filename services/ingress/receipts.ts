import type { NatsConnection } from "nats";
import { busy, type Reply, replySchema, SUBJECTS } from "../core/index.ts";
import { fromJson, refusalOf } from "./reply.ts";

/** Requests waiting for receipts at a time, in all and of one site, and the bytes that those of one site have sent; beyond, 503 says to come back. */
const MAX_WAITING = 1_000;
const MAX_WAITING_SITE = 200;
const MAX_WAITING_SITE_BYTES = 32 * 1_048_576;

export interface Receipts {
  /** Waits for the hub's word on a batch. Throws `backend-failed` when too many wait. The caller ends the wait. */
  wait(site: string, batch: string, bytes: number): { readonly reply: Promise<Reply>; end(): void };
  close(): void;
}

/**
 * The hub's words on batches, for requests that wait for them. They come over the broker, from whichever process took the batch, or from anybody else: `isOwn` says
 * which one of the hub's keys has signed. What none has is passed over, so that a forgery that comes first keeps no device from the hub's word. The device looks at
 * the signature all the same.
 */
export function receipts(nc: NatsConnection, isOwn: (message: Reply) => boolean): Receipts {
  const waiting = new Map<string, Set<(reply: Reply) => void>>();
  const sites = new Map<string, { count: number; bytes: number }>();
  let total = 0;
  const replies = nc.subscribe(`${SUBJECTS.receipt}.>`, {
    callback: (failure, message) => {
      if (failure !== null) return;
      // Handed on as it came: the hub has signed all of it, including members that this process does not know.
      const raw = fromJson(message.data) as Reply;
      const reply = replySchema.safeParse(raw);
      if (!reply.success || reply.data.batch === null) return;
      const waiters = waiting.get(reply.data.batch);
      if (waiters === undefined || !isOwn(raw)) return;
      for (const resolve of waiters) resolve(raw);
    },
  });
  return {
    wait(site, batch, bytes) {
      const of = sites.get(site) ?? { count: 0, bytes: 0 };
      if (total >= MAX_WAITING || of.count >= MAX_WAITING_SITE || (of.count > 0 && of.bytes + bytes > MAX_WAITING_SITE_BYTES))
        throw busy(`${of.count} requests of ${site} wait for their receipts`);
      const { promise, resolve } = Promise.withResolvers<Reply>();
      const others = waiting.get(batch) ?? new Set();
      waiting.set(batch, others.add(resolve));
      total++;
      of.count++;
      of.bytes += bytes;
      sites.set(site, of);
      return {
        reply: promise,
        end() {
          if (!others.delete(resolve)) return;
          if (others.size === 0) waiting.delete(batch);
          total--;
          of.count--;
          of.bytes -= bytes;
          if (of.count === 0) sites.delete(site);
        },
      };
    },
    close() {
      if (!nc.isClosed()) replies.unsubscribe();
      const stopping = refusalOf(busy("it is stopping"));
      for (const waiters of waiting.values()) for (const resolve of waiters) resolve(stopping);
    },
  };
}
