/** What a simulated run knows: its hub, its devices, what they wrote, and how much happened. */
import { deviceOf, type EventBody } from "../../services/core/index.ts";
import type { Server } from "../../services/exchange/index.ts";
import type { Field } from "../../services/field/index.ts";
import type { Projection } from "../../services/merge/engine.ts";
import type { MemoryHub } from "./memory-hub.ts";
import type { Chooser } from "./random.ts";

export interface Found {
  readonly seed: number;
  /** What does not hold, in words; empty: all does. */
  readonly problems: readonly string[];
  readonly counts: Counts;
}

/** How much happened, so that a test can see that its seeds reach everything. */
export interface Counts {
  written: number;
  moved: number;
  synced: number;
  lost: number;
  crashed: number;
  quarantined: number;
  released: number;
  policies: number;
  roles: number;
  rescoped: number;
  tablesLost: number;
  setBack: number;
  pulledFirst: number;
  putBack: number;
  writtenAgain: number;
  inParts: number;
  withoutHistory: number;
  purges: number;
  rows: number;
  /** Rows of which something is withheld from a device. */
  withheld: number;
}
export const NOTHING: Counts = {
  ...{ written: 0, moved: 0, synced: 0, lost: 0, crashed: 0, quarantined: 0, released: 0 },
  ...{ policies: 0, roles: 0, rescoped: 0, tablesLost: 0, purges: 0, rows: 0, withheld: 0 },
  ...{ setBack: 0, pulledFirst: 0, putBack: 0, writtenAgain: 0, inParts: 0, withoutHistory: 0 },
};

export interface Device {
  readonly site: string;
  readonly path: string;
  /** How far its clock is off. */
  readonly offMs: number;
  field: Field;
  views: readonly Projection[];
  /** A copy of its database that somebody has put by. */
  copy: Uint8Array | null;
  /** Fields that it may not see. */
  hidden: readonly string[];
}

export interface World {
  readonly choose: Chooser;
  /** Chooses what devices may not see; `null`: in this run they may see all. */
  readonly hides: Chooser | null;
  readonly hub: MemoryHub;
  readonly devices: Device[];
  readonly dir: string;
  readonly counts: Counts;
  server: Server;
  views: readonly Projection[];
  nowMs: number;
  /** Texts that stand in the data of one household only, by its id. */
  readonly marks: Map<string, Set<string>>;
  /** The events that people were told are durable, as `markOf` names them. */
  readonly durable: Set<string>;
  households: number;
}

/** What an event is called, whichever of its device's epochs it stands under: no device writes two at the same time. */
export const markOf = ({ origin, type, entity, hlc, occurredAt }: Omit<EventBody, "data" | "basis">): string =>
  `${deviceOf(origin)} ${type} ${entity.id} ${hlc} ${occurredAt}`;
