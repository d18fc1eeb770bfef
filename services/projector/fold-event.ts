import type { JsonObject, LogEntry } from "../core/index.ts";
import type { Gate, Pins } from "../gate/index.ts";
import { type FoldEvent, foldHeadOf, seenEvent } from "../merge/engine.ts";

/** The event as projections see it: with its data in the view's version of the schema, as far as this hub may see them. */
export const toFoldEvent = (
  { head, clock, clips, position }: Pick<LogEntry, "head" | "clock" | "clips" | "position">,
  data: JsonObject,
  gate: Pick<Gate, "openAs">,
  pins: Pins,
): FoldEvent => seenEvent(foldHeadOf({ ...head, clips, clockWrong: clock !== null, position }), gate.openAs(head, data, pins));
