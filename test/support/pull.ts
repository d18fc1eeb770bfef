/** Pulls from a hub in memory into a device's replica, without a network. */
import { randomUUID } from "node:crypto";
import { expect } from "vitest";
import { type BucketId, bucketIdOf, type ScopeValue } from "../../services/core/index.ts";
import { serve } from "../../services/exchange/index.ts";
import { type Page, pullRequestSchema } from "../../services/exchange/protocol/index.ts";
import type { Field, Replica, Taken } from "../../services/field/index.ts";
import type { Pins } from "../../services/gate/index.ts";
import { entityViews, type View } from "../../services/merge/engine.ts";
import type { MemoryHub } from "./memory-hub.ts";

/** A device with a replica. */
export const replicaOf = (field: Field): Replica => {
  if (field.replica === null) throw new Error("the device was opened without views");
  return field.replica;
};

export interface PullOptions {
  readonly maxEvents?: number;
  readonly maxBytes?: number;
  /** What becomes of a page on its way. `null`: it is lost. */
  readonly onPage?: (page: Page) => Page | null;
  /** Buckets that are asked for at a time. */
  readonly limit?: number;
}

/** Who answers a device's pulls. One server serves all pulls of a test, as it remembers between them. */
export function pulling(hub: MemoryHub, views: readonly View[] = hub.views, readers: Readonly<Record<string, Pins>> = {}) {
  const server = serve(hub.store, { views, readers: () => readers });
  const ask = async (field: Field, options: PullOptions, withBuckets: boolean): Promise<Page> => {
    const replica = replicaOf(field);
    const { org, site, device } = field.store.name;
    const { holding, summary } = replica.summary();
    const request = pullRequestSchema.parse({
      kind: "pull",
      device: `${org}.${site}.${device}`,
      protocol: { oldest: 1, newest: 1 },
      nonce: randomUUID(),
      sentAtMs: hub.now(),
      holding,
      ...(summary === undefined ? {} : { summary }),
      seal: replica.seal(),
      own: replica.own(),
      buckets: replica.asks(withBuckets ? options.limit : 0),
      ...(options.maxEvents === undefined ? {} : { maxEvents: options.maxEvents }),
      ...(options.maxBytes === undefined ? {} : { maxBytes: options.maxBytes }),
    });
    const holder = { kind: "site" as const, org, site };
    const { id, incarnation } = hub;
    return server.answer(request, { holder, device: request.device, hub: id, incarnation, nowMs: hub.now() });
  };
  /** One question and its answer; `null`: there was nothing to ask. */
  const step = async (field: Field, options: PullOptions = {}, withBuckets = true): Promise<Taken | null> => {
    const page = await ask(field, options, withBuckets);
    const arrived = options.onPage === undefined ? page : options.onPage(page);
    return arrived === null ? null : replicaOf(field).take(arrived);
  };
  return {
    ask,
    step,
    /** Asks until nothing more is to be asked. Fails where that takes more pages than it may. */
    async pull(field: Field, options: PullOptions = {}): Promise<readonly Taken[]> {
      const out: Taken[] = [];
      for (let pages = 0; pages < 2_000; pages++) {
        const first = await step(field, options, false);
        if (first !== null) out.push(first);
        if (Object.keys(replicaOf(field).asks(options.limit)).length === 0) return out;
        const taken = await step(field, options);
        if (taken !== null) out.push(taken);
      }
      throw new Error("the pull does not come to an end");
    },
  };
}

/** The bucket of a type without a scope, or of one that is told apart by district. */
export const bucketOf = (entityType: string, ...values: readonly ScopeValue[]): BucketId =>
  bucketIdOf({ entityType, columns: values.length === 0 ? [] : ["district"], values });

/** Checks that a device shows the same as the hub in all buckets of an entity type that it holds. */
export function expectSame(hub: MemoryHub, field: Field, entityType: string): number {
  const replica = replicaOf(field);
  let rows = 0;
  const held = replica.buckets().filter((bucket) => bucket.entityType === entityType);
  for (const { bucket } of held) {
    for (const view of entityViews(hub.views)) {
      if (view.entity !== entityType || view.hubOnly) continue;
      expect(replica.rowsHash(view.name, bucket), `${view.name} of ${bucket}`).toBe(hub.rowsHash(view.name, bucket));
      rows += hub.rows(view.name, bucket).length;
    }
  }
  expect(
    replica
      .views()
      .filter(({ view }) => entityViews(hub.views).some(({ name, entity }) => name === view && entity === entityType))
      .reduce((sum, { rows: n }) => sum + n, 0),
  ).toBe(rows);
  return rows;
}
