/** Merging alone, beside the least that could be done with the same events: no server, one process. */

import { join } from "node:path";
import { PROJECTIONS_DIR } from "../services/cli/program.ts";
import { partsOf } from "../services/core/index.ts";
import { type EntityState, type FoldEvent, type FullRow, fold, type Projection, rowWith } from "../services/merge/engine.ts";
import { openDevice } from "./device.ts";
import { peopleOf } from "./workload.ts";

const COUNT = 60_000;
const CONTESTED = 0.1;
const ROUNDS = 4;
/** Rounds before the measurement, until the engine has optimised both sides as far as it can. */
const WARM_UP = 2;

/** Calls `note` with the rates of fold and bare merge; both go over the same events, in turns. */
export async function benchFold(note: (name: string, value: number) => void): Promise<void> {
  const { default: projection } = (await import(join(PROJECTIONS_DIR, "beneficiaries.ts"))) as { default: Projection };
  const events = eventsOfTwo();
  const spentMs = { fold: 0, "bare-reduce": 0 };
  const work = {
    fold(): number {
      const states = new Map<string, EntityState>();
      const rows = new Map<string, FullRow>();
      for (const event of events) {
        const { id } = event.entity;
        const { state } = fold(projection, states.get(id), event)!;
        states.set(id, state);
        rows.set(id, rowWith(projection, id, state));
      }
      return rows.size;
    },
    "bare-reduce"(): number {
      const rows = new Map<string, FoldEvent["data"]>();
      for (const { entity, data } of events) rows.set(entity.id, { ...rows.get(entity.id), ...data });
      return rows.size;
    },
  };
  for (let round = 0; round < WARM_UP + ROUNDS; round++) {
    const names = ["fold", "bare-reduce"] as const;
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      const startedMs = performance.now();
      work[name]();
      if (round >= WARM_UP) spentMs[name] += performance.now() - startedMs;
    }
  }
  note("fold", (events.length * ROUNDS * 1000) / spentMs.fold);
  note("bare-reduce", (events.length * ROUNDS * 1000) / spentMs["bare-reduce"]);
}

/** Two sites' events as they would come in, in batches by turns. */
function eventsOfTwo(): FoldEvent[] {
  const sites = ["nairobi", "kampala"] as const;
  const [ours, theirs] = sites.map((site, i) => {
    const device = openDevice(site);
    return [...peopleOf([site, sites[1 - i]!], COUNT / 2, i + 1, CONTESTED)].map((event) => device.write(event));
  });
  const batches = Array.from({ length: COUNT / 1000 }, (_, n) =>
    [ours!, theirs!].map((all) => all.slice(n * 500, n * 500 + 500)),
  );
  return batches.flat(2).map(
    ({ head, content }, i): FoldEvent => ({
      type: head.type,
      data: content.kind === "accepted" ? content.data : {},
      entity: head.entity,
      actor: head.actor,
      occurredAt: head.occurredAt,
      site: partsOf(head.origin).site,
      origin: head.origin,
      seq: head.seq,
      hlc: head.hlc,
      clockWrong: false,
      position: i,
      basis: head.basis,
    }),
  );
}
