import { frameCutter } from "../frames.ts";
import { openHeads } from "../heads.ts";
import { takeBack } from "../move.ts";
import { openPace } from "../pace.ts";
import { eventReader } from "../reading.ts";
import type { Transport } from "../way.ts";
import { open } from "./open.ts";
import type { Pass, PushDeps, PushOptions, Tally } from "./pass.ts";
import { queueAll } from "./queue.ts";
import { pushOrigin } from "./send.ts";

/**
 * One pass over an open link: asks where the log stands, and sends every epoch, oldest first, until each has its receipt.
 *
 *   hello ─▶ the log is behind our receipts ─▶ they count no more ─┐
 *     │  ├─▶ the log has other events than we ─▶ moved on          ├─▶ each epoch: sending ⇄ confirmed … ─▶ done
 *     │  └─▶ where we were ────────────────────────────────────────┘
 *     └─▶ nobody can say ─▶ what was never queued is queued ─▶ fails with `backend-unreachable`, `tally.waiting` says how many
 */
export async function pushAll(deps: PushDeps, transport: Transport, options: PushOptions, tally: Tally): Promise<void> {
  const { store, gate, now } = deps;
  const rows = eventReader(store);
  const pass: Pass = {
    store,
    transport,
    options,
    tally,
    rows,
    cutter: frameCutter(rows, gate, transport.identity, openHeads(store)),
    pace: openPace(store, transport.maxFrameBytes),
    now,
    avro: {},
    maxBytes: transport.maxFrameBytes,
    proven: new Map(),
    origin: store.origin,
  };
  tally.waiting = null;
  try {
    if (options.again) takeBack(store);
    const opened = await open(deps, pass);
    if (opened.kind === "away") return await queueAll(pass, opened.because);
    for (let i = 0; i < store.origins().length; i++) {
      const origin = store.origins()[i]!;
      if (origin.syncedThrough < origin.lastSeq || options.again) await pushOrigin(pass, origin.id, origin.id === opened.settled);
    }
  } finally {
    pass.pace.remember();
  }
}
