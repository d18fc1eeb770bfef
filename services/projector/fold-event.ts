import type { CountedEntry, JsonObject } from "../core/index.ts";
import type { Gate, Pins } from "../gate/index.ts";
import { type FoldEvent, foldHeadOf, seenEvent } from "../merge/engine.ts";

/** The event as projections see it: with its data in the view's version of the schema, as far as this hub may see them. */
export const toFoldEvent = (
  { head, clock, clips, position, places }: Pick<CountedEntry, "head" | "clock" | "clips" | "position" | "places">,
  data: JsonObject,
  gate: Pick<Gate, "openAs">,
  pins: Pins,
): FoldEvent =>
  seenEvent(foldHeadOf({ ...head, clips, clockWrong: clock !== null, position, places }), gate.openAs(head, data, pins));
