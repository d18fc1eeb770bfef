import { type EventBody, type JsonObject, OPENS_ALL, type Opener } from "../../core/index.ts";
import { type Casters, NO_CASTERS } from "../casters.ts";
import type { SchemaStore } from "../schema.ts";
import type { Problem } from "../words.ts";
import { type DeviceGate, deviceGate } from "./device.ts";
import { type HubGate, hubGate } from "./hub.ts";
import { opening, type ProjectorGate, reading } from "./projector.ts";
import { shelfOf } from "./shelf.ts";
import { type ToolsGate, toolsGate } from "./tools.ts";

/**
 * Tells why some view cannot show what an event writes; `null`: all views can. Door and device are handed this function, since they know nothing of views. It is
 * called for every event that fits its schema, and never throws.
 */
export type Fits = (head: FitsHead, data: JsonObject) => Problem | null;
export type FitsHead = Pick<EventBody, "type" | "entity" | "schema" | "origin" | "actor" | "occurredAt">;

/** A schema store, as each of its four audiences asks it. */
export interface Gate extends DeviceGate, HubGate, ProjectorGate, ToolsGate {
  readonly store: SchemaStore;
  readonly casters: Casters;
}

export interface GateOptions {
  readonly casters?: Casters;
  readonly refresh?: (subject: string) => Promise<void>;
  /** Opens the values of events; default: all of them. */
  readonly opener?: Opener;
}

/** Makes a gate over a schema store, which may grow. Schemas are compiled when first used. */
export function createGate(store: SchemaStore, { casters = NO_CASTERS, refresh, opener = OPENS_ALL }: GateOptions = {}): Gate {
  const shelf = shelfOf(store);
  const read = reading(shelf, casters);
  return {
    store,
    casters,
    ...deviceGate(shelf),
    ...hubGate(shelf, refresh),
    ...read,
    ...opening(read, opener),
    ...toolsGate(shelf),
  };
}

/** The same gate for a reader who may open other values. */
export const withOpener = (gate: Gate, opener: Opener): Gate => ({ ...gate, ...opening(gate, opener) });
