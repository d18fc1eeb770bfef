/**
 * A site's device without its database. In go events as an app writes them; they come out as the gate would let them into the log: chained, and
 * with all that they know of their own entity. For logs of a million events, which need not go the whole way.
 */

import { SCHEMAS_DIR } from "../services/cli/program.ts";
import {
  type Appendable,
  canonicalize,
  EMPTY_VECTOR,
  eventIdOf,
  eventText,
  formatHlc,
  GENESIS,
  type Hash,
  type OriginHead,
  type OriginId,
  originId,
  type Seq,
  type Vector,
} from "../services/core/index.ts";
import { chainHash } from "../services/core/node.ts";
import type { NewEvent } from "../services/field/index.ts";
import { createGate } from "../services/gate/index.ts";
import { loadSchemas } from "../services/gate/node.ts";
import type { Log } from "../services/log/index.ts";

const BATCH_EVENTS = 500;
const BEGAN_MS = Date.parse("2026-03-01T08:00:00Z");

const gate = createGate(loadSchemas(SCHEMAS_DIR));

export interface Device {
  readonly origin: OriginId;
  /** The next event of this origin. */
  write(event: NewEvent): Appendable;
}

/** `clock`: the wall clock at each event, by its seq; left out, an event a millisecond. */
export function openDevice(site: string, clock = (seq: number): number => BEGAN_MS + seq): Device {
  const origin = originId({ org: "bench", site, device: "t1", epoch: "bench" });
  const seen = new Map<string, Vector>();
  let prev: Hash = GENESIS;
  let seq = 0;
  return {
    origin,
    write({ type, entity, data, actor }) {
      const { subject, version } = gate.subjectFor(type)!;
      const name = `${entity.type}/${entity.id}`;
      const wallMs = clock(seq);
      const body = {
        type,
        origin,
        seq: seq as Seq,
        entity,
        schema: { subject, version },
        actor,
        org: "bench",
        occurredAt: new Date(wallMs).toISOString(),
        hlc: formatHlc({ wallMs, counter: 0 }),
        basis: seen.get(name) ?? EMPTY_VECTOR,
      };
      const hash = chainHash(prev, eventText(body, canonicalize(data)));
      const head = { ...body, id: eventIdOf(wallMs, hash), prev, hash };
      seen.set(name, { [origin]: seq as Seq });
      prev = hash;
      seq++;
      return { head, content: { kind: "accepted", data }, clock: null };
    },
  };
}

/** Appends each site's events, all sites at the same time, as their devices would come in. Returns how many there were. */
export async function fillLog(log: Log, sites: Readonly<Record<string, Iterable<NewEvent>>>): Promise<number> {
  const counts = await Promise.all(
    Object.entries(sites).map(async ([site, events]) => {
      const device = openDevice(site);
      let head: OriginHead | null = null;
      let count = 0;
      let run: Appendable[] = [];
      const append = async (): Promise<void> => {
        const outcome = await log.append(run, head);
        if (outcome.kind !== "appended") throw new Error(`${site}: ${outcome.kind}`);
        head = outcome.head;
        count += run.length;
        run = [];
      };
      for (const event of events) {
        run.push(device.write(event));
        if (run.length === BATCH_EVENTS) await append();
      }
      if (run.length > 0) await append();
      return count;
    }),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}
