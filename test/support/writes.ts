import { formatHlc, type JsonObject, type JsonValue, type OriginId, type Seq, type Vector } from "../../services/core/index.ts";
import type { FoldEvent, Sibling } from "../../services/merge/engine.ts";

/** Who writes in the examples. */
export const NAIROBI = "relief.nairobi.tablet-1.aaa" as OriginId;
export const KAMPALA = "relief.kampala.tablet-1.bbb" as OriginId;
export const JUBA = "shelter.juba.tablet-1.ccc" as OriginId;
export const HUB = "relief.hub.console.ddd" as OriginId;

/** A stamp at this hour of one day. */
export const at = (hour: number): FoldEvent["hlc"] => formatHlc({ wallMs: Date.UTC(2026, 4, 3, hour), counter: 0 });

export interface WriteOptions {
  readonly seq?: number;
  readonly hour?: number;
  readonly actor?: string;
  readonly clockWrong?: boolean;
  readonly position?: number | null;
  readonly read?: JsonObject;
  readonly basis?: Vector;
}

/** A value that stands beside others. */
export const wrote = (
  origin: OriginId,
  value: JsonValue,
  { seq = 0, hour = 8, actor = "deng", clockWrong = false, position = null, ...rest }: WriteOptions = {},
): Sibling => ({ by: { origin, seq: seq as Seq, hlc: at(hour), actor, clockWrong, position }, value, ...rest });

/** What a basis covers: `seen(first, second)`. */
export function seen(...events: readonly FoldEvent[]): Vector {
  const out: Record<string, number> = {};
  for (const { origin, seq } of events) out[origin] = Math.max(out[origin] ?? -1, seq);
  return out as Vector;
}

/** An event about the person p1. */
export const personEvent = (
  origin: OriginId,
  type: string,
  data: JsonObject,
  { seq = 0, hour = 8, actor = "deng", clockWrong = false, position = null, basis = {} }: WriteOptions = {},
): FoldEvent => ({
  type,
  data,
  entity: { type: "person", id: "p1" },
  actor,
  occurredAt: "2026-05-03T08:00:00.000Z",
  site: origin.split(".")[1]!,
  origin,
  seq: seq as Seq,
  hlc: at(hour),
  clockWrong,
  position,
  basis,
});

/** All orders of a few things. */
export const orders = <T>(items: readonly T[]): T[][] =>
  items.length < 2 ? [[...items]] : items.flatMap((one, i) => orders(items.toSpliced(i, 1)).map((rest) => [one, ...rest]));
