import { type JsonObject, type LogEntry, partsOf } from "../core/index.ts";
import type { Gate, Pins } from "../gate/index.ts";
import { type FoldEvent, seenOf } from "../merge/engine.ts";

/** The event as projections see it: its data as the view's version of the schema has it. */
export function toFoldEvent(
  { head, clock, clips, position }: Pick<LogEntry, "head" | "clock" | "clips" | "position">,
  data: JsonObject,
  gate: Pick<Gate, "read">,
  pins: Pins,
): FoldEvent {
  return {
    type: head.type,
    data: gate.read(head.schema, data, pins).data,
    entity: head.entity,
    actor: head.actor,
    occurredAt: head.occurredAt,
    site: partsOf(head.origin).site,
    origin: head.origin,
    seq: head.seq,
    hlc: head.hlc,
    clockWrong: clock !== null,
    position: Number(position),
    ...seenOf(head.basis, clips),
  };
}
