import { headers, type NatsConnection } from "nats";
import { HEADER_TOKEN, type OriginId, partsOf, type Reply, SUBJECTS, type TributaryError } from "../core/index.ts";
import { batchKey } from "../core/node.ts";
import type { Doorkeeper } from "../http/index.ts";
import { type BrokerWatch, publishFailure } from "./broker.ts";
import { receipts } from "./receipts.ts";
import { admittedBatch, type Came, type ShownToken, signedBatches } from "./signed-batches.ts";
import type { Standing } from "./standing.ts";
import type { Vouch } from "./vouch.ts";

const PUBLISH_TIMEOUT_MS = 5_000;

export interface DeliverDeps {
  readonly nc: NatsConnection;
  readonly keeper: Doorkeeper;
  readonly vouch: Vouch;
  /** Whether the hub has signed what came over the broker in its name. */
  readonly isOwn: (message: Reply) => boolean;
  readonly standing: Pick<Standing, "away">;
  readonly broker: Pick<BrokerWatch, "look">;
}

/** A batch as it came to a door, with the token that came with it. `waitMs`: how long to wait for the hub's word. */
export interface Delivery extends Came {
  readonly token: ShownToken;
  readonly waitMs: number;
}

/** The batch is in the stream: no word came in time, or the event store is away (`because`). */
export interface Queued {
  readonly kind: "queued";
  readonly batch: string;
  readonly origin: OriginId;
  readonly because?: TributaryError["code"];
}

export interface Deliveries {
  /** Puts a batch into the stream, and waits for the hub's word, which the hub has signed. Throws what the sender is told of a batch that is not let in. */
  take(delivery: Delivery): Promise<Reply | Queued>;
  close(): void;
}

/** What every door beside the broker's does with a batch. The doors share it: its bounds are for all of them. */
export function deliveries(deps: DeliverDeps): Deliveries {
  const { nc, keeper, standing, broker } = deps;
  const waiting = receipts(nc, deps.isOwn);
  const signed = signedBatches(deps);
  return {
    async take({ frame, address, token, waitMs }) {
      const { origin, authorization } = await admittedBatch(signed, token, { frame, address });
      const batch = batchKey(frame);
      const { org, site, device } = partsOf(origin);
      const receipt = waiting.wait(`${org}.${site}`, batch, frame.length);
      try {
        const about = headers();
        if (authorization !== undefined) about.set(HEADER_TOKEN, keeper.forMessage(authorization, frame));
        await nc
          .jetstream()
          .publish(`${SUBJECTS.ingress}.${org}.${site}.${device}`, frame, { headers: about, timeout: PUBLISH_TIMEOUT_MS })
          .catch((error: unknown) => {
            void broker.look();
            throw publishFailure(error);
          });
        // While the event store is away, no receipt comes. The batch is in the stream nevertheless.
        const away = standing.away();
        if (away !== null) return { kind: "queued", batch, origin, because: away.code };
        const late = new Promise<null>((resolve) => setTimeout(() => resolve(null), waitMs).unref());
        return (await Promise.race([receipt.reply, late])) ?? { kind: "queued", batch, origin };
      } finally {
        receipt.end();
      }
    },
    close: waiting.close,
  };
}
