import type { EventBody } from "./event.ts";
import type { Hash } from "./ids.ts";
import { canonicalize } from "./json.ts";
import type { Vector } from "./vector.ts";

/** SHA-256 over the bytes of `prev` followed by the UTF-8 bytes of `text`. It is passed in, because Node and browsers differ. */
export type ChainHash = (prev: Hash, text: string) => Hash;

function vectorText(vector: Vector): string {
  const origins = Object.keys(vector).sort() as (keyof Vector)[];
  let out = "";
  for (const origin of origins) out += `${out === "" ? "" : ","}"${origin}":${vector[origin]}`;
  return `{${out}}`;
}

/**
 * The canonical text (RFC 8785) of an event whose data is already canonical text. Members stand in JCS order. The
 * data's text is taken as it is, so that even an event whose data is not JSON has a hash, and a seq in its chain.
 */
export function eventText(body: Omit<EventBody, "data">, dataText: string): string {
  return `{"actor":${JSON.stringify(body.actor)},"basis":${vectorText(body.basis)}${
    body.causationId === undefined ? "" : `,"causationId":${JSON.stringify(body.causationId)}`
  }${body.correlationId === undefined ? "" : `,"correlationId":${JSON.stringify(body.correlationId)}`},"data":${dataText},"entity":{"id":${JSON.stringify(
    body.entity.id,
  )},"type":${JSON.stringify(body.entity.type)}},"hlc":"${body.hlc}","occurredAt":"${body.occurredAt}","org":"${body.org}","origin":"${
    body.origin
  }","schema":{"subject":${JSON.stringify(body.schema.subject)},"version":${body.schema.version}},"seq":${body.seq},"type":${JSON.stringify(body.type)}}`;
}

/** `SHA-256(prev ‖ JCS(event))`: the link that chains an event to the one before it in its origin. */
export const hashOf = (prev: Hash, body: EventBody, digest: ChainHash): Hash =>
  digest(prev, eventText(body, canonicalize(body.data)));
