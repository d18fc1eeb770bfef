import { isTributaryError } from "../../core/index.ts";
import { frameCutter } from "../frames.ts";
import { openHeads } from "../heads.ts";
import { hubKeys } from "../keys.ts";
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
 *   hello ─▶ the log is behind our receipts ─▶ they do not count ─┐
 *     │  ├─▶ the log has other events than we ─▶ moved on          ├─▶ each epoch: sending ⇄ confirmed … ─▶ done
 *     │  └─▶ where we were ────────────────────────────────────────┘
 *     │                                                             └─▶ an answer that no known key has signed ─▶ another hello: a new key ─▶ each epoch
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
    try {
      await sendAll(pass, opened.aligned);
    } catch (error) {
      const anew = await askedUnderNewKeys(deps, pass, error);
      if (anew.kind === "away") return await queueAll(pass, anew.because);
      await sendAll(pass, anew.aligned);
    }
  } finally {
    pass.pace.remember();
  }
}

async function sendAll(pass: Pass, aligned: number): Promise<void> {
  const { store, options } = pass;
  for (let i = 0; i < store.origins().length; i++) {
    const origin = store.origins()[i]!;
    if (origin.syncedThrough < origin.lastSeq || options.again) await pushOrigin(pass, origin.id, origin.id === aligned);
  }
}

/**
 * Asks once more, after an answer that is not signed by any key of the hub that this device knows. The hub may have rotated its key since the hello, and only
 * a hello brings the old key's word for the new one. Throws `error` if the hello brings no new key: then the answer was not the hub's.
 */
async function askedUnderNewKeys(deps: PushDeps, pass: Pass, error: unknown): ReturnType<typeof open> {
  if (!isTributaryError(error) || error.code !== "hub-unproven") throw error;
  const before = hubKeys(pass.store).map(({ x }) => x);
  const opened = await open(deps, pass);
  if (hubKeys(pass.store).every(({ x }) => before.includes(x))) throw error;
  return opened;
}
