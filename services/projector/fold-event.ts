import type { JsonObject, LogEntry } from "../core/index.ts";
import type { Gate, Pins } from "../gate/index.ts";
import { type FoldEvent, foldHeadOf } from "../merge/engine.ts";

/** The event as projections see it: with its data in the view's version of the schema. */
export const toFoldEvent = (
  { head, clock, clips, position }: Pick<LogEntry, "head" | "clock" | "clips" | "position">,
  data: JsonObject,
  gate: Pick<Gate, "read">,
  pins: Pins,
): FoldEvent => ({
  ...foldHeadOf({ ...head, clips, clockWrong: clock !== null, position }),
  data: gate.read(head.schema, data, pins).data,
});
