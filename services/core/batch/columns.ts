/** What batches and pages are made of: dictionaries, in which a text that repeats stands once, and columns of numbers that point into them. */
import type { Reader, Writer } from "../avro-bytes.ts";
import { hexBytes, UUID, uuidText } from "./texts.ts";

/** A list in which each text stands once; `of` gives its index. */
export interface Dictionary {
  readonly list: string[];
  of(text: string): number;
}

export function dictionary(): Dictionary {
  const list: string[] = [];
  const index = new Map<string, number>();
  return {
    list,
    of(text) {
      let at = index.get(text);
      if (at === undefined) {
        at = list.length;
        index.set(text, at);
        list.push(text);
      }
      return at;
    },
  };
}

/** Avro's union of a text and a UUID: a UUID in its canonical form takes 16 bytes. */
export function writeTextOrUuid(out: Writer, text: string): void {
  const isUuid = UUID.test(text);
  out.long(isUuid ? 1 : 0);
  if (isUuid) out.fixed(hexBytes(text.replaceAll("-", "")));
  else out.string(text);
}

/** Throws `RangeError` for anything else. */
export function readTextOrUuid(from: Reader): string {
  const branch = from.long();
  if (branch === 0) return from.string();
  if (branch === 1) return uuidText(from.fixed(16));
  throw new RangeError("a union has no such branch");
}

/** The item of a list that an index names. Throws `RangeError` where there is none. */
export function pick<T>(list: readonly T[], index: number): T {
  const item = list[index];
  if (item === undefined) throw new RangeError("an index points nowhere");
  return item;
}

/** Payloads one behind the other. */
export function joined(payloads: readonly Uint8Array[]): Uint8Array {
  const data = new Uint8Array(payloads.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const payload of payloads) {
    data.set(payload, at);
    at += payload.length;
  }
  return data;
}
