import {
  type Appendable,
  canonicalize,
  type EventBody,
  eventIdOf,
  eventText,
  formatHlc,
  GENESIS,
  type Hash,
  type IncarnationId,
  type JsonObject,
  type OriginId,
  type Position,
  type Seq,
  type Vector,
  withDot,
} from "../../services/core/index.ts";
import { chainHash, type LocalSigner, randomEpoch } from "../../services/core/node.ts";
import { type Log, signNotes } from "../../services/log/index.ts";

/** An event as an older hub took it: whatever its envelope says. */
export interface OldEvent extends Partial<Omit<EventBody, "data" | "origin" | "seq">> {
  readonly type: string;
  readonly entity: { readonly type: string; readonly id: string };
  readonly data: JsonObject;
  /** The device's clock minus the hub's clock, as the hub noted it. */
  readonly clockOffsetMs?: number;
  /** The code with which the hub held the event back. */
  readonly quarantined?: string;
}

const SUBJECTS: Readonly<Record<string, string>> = {
  "beneficiary.registered": "beneficiary",
  "beneficiary.updated": "beneficiary-update",
  "distribution.recorded": "distribution",
  "order.noted": "order-note",
};

/** Writes events into the log past today's door, chained as a device chains them. `append` puts them there in one run. */
export function oldWriter(log: Pick<Log, "append">, site: string, org = "relief", device = "old") {
  const origin = `${org}.${site}.${device}.${randomEpoch()}` as OriginId;
  let seq = 0;
  let prev: Hash = GENESIS;
  const seen = new Map<string, Vector>();
  let wallMs = Date.UTC(2026, 4, 3);
  const made = ({ clockOffsetMs, quarantined, data, ...event }: OldEvent): Appendable => {
    const key = `${event.entity.type}/${event.entity.id}`;
    const hlc = formatHlc({ wallMs: ++wallMs, counter: 0 });
    const body = {
      origin,
      seq: seq++ as Seq,
      schema: { subject: SUBJECTS[event.type] ?? "beneficiary", version: 1 },
      actor: "deng",
      org,
      occurredAt: "2026-05-03T08:00:00.000Z",
      hlc,
      basis: seen.get(key) ?? {},
      ...event,
    } satisfies Omit<EventBody, "data">;
    seen.set(key, withDot(body.basis, body));
    const hash = chainHash(prev, eventText(body, canonicalize(data)));
    const head = { ...body, id: eventIdOf(wallMs, hash), prev, hash };
    prev = hash;
    return {
      head,
      content:
        quarantined === undefined
          ? { kind: "accepted", data }
          : {
              kind: "quarantined",
              reason: { code: quarantined, message: "it was held back", path: null },
              text: canonicalize(data),
            },
      clock: clockOffsetMs === undefined ? null : { offsetMs: clockOffsetMs },
    };
  };
  return {
    origin,
    /** The hash of the last event. */
    head: (): Hash => prev,
    /** Appends what another hub let in: it stood at these positions of that hub's log, one after the other, and that hub has signed its notes. */
    async appendTaken({ hub, signer }: OtherHub, position: number, ...events: readonly OldEvent[]): Promise<void> {
      const run = events.map((event, i) => ({ ...made(event), taken: { hub, position: BigInt(position + i) as Position } }));
      const noted = signNotes(signer, hub, run);
      const outcome = await log.append(run.map((item, i) => (i < run.length - 1 || noted === null ? item : { ...item, noted })));
      if (outcome.kind !== "appended") throw new Error(`the log did not take them: ${outcome.kind}`);
    },
    async append(...events: readonly OldEvent[]): Promise<void> {
      const outcome = await log.append(events.map(made));
      if (outcome.kind !== "appended") throw new Error(`the log did not take them: ${outcome.kind}`);
    },
  };
}

/** Another hub, whose events and notes come into this hub's log as they come from a peer. */
export interface OtherHub {
  readonly hub: IncarnationId;
  readonly signer: LocalSigner;
}

export const person = (id: string, data: JsonObject = {}, more: Partial<OldEvent> = {}): OldEvent => ({
  type: "beneficiary.registered",
  entity: { type: "beneficiary", id },
  data: { registration_no: id, given_name: "Awɛŋ", sex: "female", registered_on: "2026-01-05", ...data },
  ...more,
});

export const change = (id: string, data: JsonObject, more: Partial<OldEvent> = {}): OldEvent => ({
  type: "beneficiary.updated",
  entity: { type: "beneficiary", id },
  data,
  ...more,
});
