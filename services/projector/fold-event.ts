import type { CountedEntry, JsonObject } from "../core/index.ts";
import type { Gate, Pins } from "../gate/index.ts";
import { type FoldEvent, foldHeadOf } from "../merge/engine.ts";

/** The event as projections see it: with its data in the view's version of the schema. */
export const toFoldEvent = (
  { head, clock, clips, position, places }: Pick<CountedEntry, "head" | "clock" | "clips" | "position" | "places">,
  data: JsonObject,
  gate: Pick<Gate, "read">,
  pins: Pins,
): FoldEvent => ({
  ...foldHeadOf({ ...head, clips, clockWrong: clock !== null, position, places }),
  data: gate.read(head.schema, data, pins).data,
});
