import { TributaryError } from "./errors.ts";

declare const brand: unique symbol;
type Branded<T, Name extends string> = T & { readonly [brand]: Name };

/** One writer: `org.site.device.epoch`, each part lower-case letters, digits and hyphens. */
export type OriginId = Branded<string, "OriginId">;
/** UUIDv7 in its canonical text form; derived from the event's clock and hash (`eventIdOf`). */
export type EventId = Branded<string, "EventId">;
/** Number of an event within its origin, from 0 without gaps; equal to its stream revision. */
export type Seq = Branded<number, "Seq">;
/** Where an event stands in the whole log (the event store's `$all` commit position). It grows from event to event, but does not count them. */
export type Position = Branded<bigint, "Position">;
/** One life of a log, between its restores from backups: 12 characters. Positions of different incarnations cannot be compared. */
export type IncarnationId = Branded<string, "IncarnationId">;
/** A bucket: the first 32 hexadecimal digits of the SHA-256 of its entity type, columns and values (`bucketIdOf`). */
export type BucketId = Branded<string, "BucketId">;
/** SHA-256 as 64 lower-case hexadecimal digits. */
export type Hash = Branded<string, "Hash">;

export interface OriginParts {
  readonly org: string;
  readonly site: string;
  readonly device: string;
  readonly epoch: string;
}

const NAME = /^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/;
const HASH = /^[0-9a-f]{64}$/;

/** The hash that the first event of every origin names as its `prev`. */
export const GENESIS = "0".repeat(64) as Hash;

/** Whether `text` can name an organisation, site, device or epoch: 1–40 of a–z, 0–9 and inner hyphens. */
export const isName = (text: string): boolean => NAME.test(text);

/** Checks one part of an origin's name; `what` says in the error which part it was. */
export function nameOf(what: string, text: string): string {
  if (isName(text)) return text;
  throw new TributaryError(
    "input-malformed",
    `${what} ${JSON.stringify(text)} is not a name`,
    "Use 1 to 40 lower-case letters, digits and hyphens, for example 'nairobi' or 'tablet-7'.",
  );
}

export function originId(parts: OriginParts): OriginId {
  const { org, site, device, epoch } = parts;
  return [nameOf("organisation", org), nameOf("site", site), nameOf("device", device), nameOf("epoch", epoch)].join(
    ".",
  ) as OriginId;
}

/** Origins whose names were checked already: there are few, and each event names one several times. */
const MAX_KNOWN_ORIGINS = 10_000;
const knownOrigins = new Map<string, OriginParts>();

/** The parts of an origin's name; `null` for anything else. */
function readOrigin(text: string): OriginParts | null {
  const known = knownOrigins.get(text);
  if (known !== undefined) return known;
  const split = text.split(".");
  if (split.length !== 4 || !split.every(isName)) return null;
  const [org, site, device, epoch] = split as [string, string, string, string];
  const parts = Object.freeze({ org, site, device, epoch });
  if (knownOrigins.size >= MAX_KNOWN_ORIGINS) knownOrigins.clear();
  knownOrigins.set(text, parts);
  return parts;
}

export const isOriginId = (text: string): text is OriginId => readOrigin(text) !== null;

/** Splits an origin's name. Throws `input-malformed` when the text is not one. */
export function partsOf(origin: string): OriginParts {
  const parts = readOrigin(origin);
  if (parts === null) {
    throw new TributaryError(
      "input-malformed",
      `${JSON.stringify(origin)} is not an origin`,
      "An origin is written org.site.device.epoch.",
    );
  }
  return parts;
}

export const orgOf = (origin: OriginId): string => origin.slice(0, origin.indexOf("."));

export const seq = (n: number): Seq => {
  if (!Number.isSafeInteger(n) || n < 0) throw new RangeError(`not a seq: ${n}`);
  return n as Seq;
};

export const position = (n: bigint): Position => {
  if (n < 0n) throw new RangeError(`not a position: ${n}`);
  return n as Position;
};

const DECIMAL = /^\d{1,20}$/;

/** A position that was written as text: in JSON, in a column, on a command line. `null`: the text is not a position. */
export const positionFromText = (text: string): Position | null => (DECIMAL.test(text) ? position(BigInt(text)) : null);

/** A position as text has it: decimal. */
export const positionToText = (at: Position): string => at.toString();

/** A position that SQLite or a protocol buffer holds as a number. */
export const positionFromNumber = (n: number): Position => position(BigInt(n));

/** A position as a number, exact up to 2^53: 8 PiB of log. */
export const positionToNumber = (at: Position): number => Number(at);

/** The position right after another, whether or not an event stands there. */
export const positionAfter = (at: Position): Position => position(at + 1n);

export const isHash = (text: string): text is Hash => HASH.test(text);

/**
 * The id of the event with this wall clock and hash: a UUIDv7 (RFC 9562 §5.7) whose 74 free bits are the first bits
 * of the hash. So an id need not travel, and equal ids mean equal content: the event store's idempotence goes by
 * ids and does not look at content, and so can never take a fork for a resend.
 */
export function eventIdOf(wallMs: number, hash: Hash): EventId {
  const time = wallMs.toString(16).padStart(12, "0");
  const variant = ((Number.parseInt(hash[3]!, 16) & 0x3) | 0x8).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${hash.slice(0, 3)}-${variant}${hash.slice(4, 7)}-${hash.slice(7, 19)}` as EventId;
}
