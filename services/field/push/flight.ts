import type { Reply } from "../../core/index.ts";
import type { Pass } from "./pass.ts";

/** A frame under way. */
export interface Flight {
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly bytes: number;
  readonly taken: Promise<void>;
  readonly reply: Promise<Reply | null>;
  isTaken: boolean;
}

/** A frame about to be sent: the events in it, and the frames that went before it and have no answer yet. */
export interface Load {
  readonly frame: Uint8Array;
  readonly first: number;
  readonly last: number;
  readonly flights: readonly Flight[];
  readonly wantsReply?: boolean;
}

/** Bytes that were handed over and not taken yet. */
export const flyingBytes = (flights: readonly Flight[]): number =>
  flights.reduce((sum, { bytes, isTaken }) => sum + (isTaken ? 0 : bytes), 0);

/** Notes that a frame was sent, and then hands it over: from now on nobody can say that its events were never sent. */
export function launch(pass: Pass, id: number, { frame, first, last, flights, wantsReply = true }: Load): Flight {
  const { store, transport, pace, tally } = pass;
  store.transaction(() => store.rows.noteOffered(id, last, takenThrough(flights)));
  const flying = frame.length + flyingBytes(flights);
  const sentAtMs = performance.now();
  const { taken, reply } = transport.send(frame, pass.origin(id).name, pace.carryMs(flying), wantsReply);
  tally.batches++;
  const flight: Flight = { firstSeq: first, lastSeq: last, bytes: frame.length, taken, reply, isTaken: false };
  taken.then(
    () => {
      flight.isTaken = true;
      pace.taken(frame.length, sentAtMs, performance.now(), transport.tellsArrival);
    },
    // Whoever waits for this promise is told of its failure; nobody else need be.
    () => {},
  );
  return flight;
}

/** Notes how far frames were taken without a gap: the last event of the last such frame; −1: none. */
function takenThrough(flights: readonly Flight[]): number {
  let through = -1;
  for (const { isTaken, lastSeq } of flights) {
    if (!isTaken) break;
    through = lastSeq;
  }
  return through;
}

export function noteTaken({ store }: Pass, id: number, flights: readonly Flight[]): void {
  const through = takenThrough(flights);
  if (through < 0) return;
  store.transaction(() => store.rows.noteQueued(id, through));
}
