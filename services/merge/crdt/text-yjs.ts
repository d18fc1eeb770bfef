import * as Y from "yjs";
import type { JsonValue, OriginId, Seq } from "../../core/index.ts";
import type { Crdt } from "../crdt.ts";
import { findRow } from "./dots.ts";

/** Largest update that one write may carry, as base64: far beyond an edit, below what an event may hold. */
export const MAX_UPDATE_CHARS = 1 << 20;

/** Each write's update, sorted by dot. Yjs would merge them into fewer bytes, but the bytes would depend on the order. */
interface State {
  readonly u: readonly (readonly [OriginId, Seq, string])[];
}

/** Where an app's `Y.Doc` keeps what is written to such a column. */
const ROOT = "text";

function fromBase64(text: string): Uint8Array {
  const bytes = atob(text);
  return Uint8Array.from(bytes, (char) => char.charCodeAt(0));
}

function toBase64(bytes: Uint8Array): string {
  const PIECE = 8192;
  let chars = "";
  for (let i = 0; i < bytes.length; i += PIECE) chars += String.fromCharCode(...bytes.subarray(i, i + PIECE));
  return btoa(chars);
}

const SHAPE = "a text takes a Yjs update (version 1) as base64";

function problemOf(value: JsonValue): string | null {
  if (typeof value !== "string") return SHAPE;
  if (value.length > MAX_UPDATE_CHARS) return `an update has at most ${MAX_UPDATE_CHARS} characters of base64`;
  try {
    const update = fromBase64(value);
    if (toBase64(update) !== value) return SHAPE;
    // This reads item by item. Applying it directly would believe the update's counts and make room for what a few bytes merely announce.
    Y.decodeUpdate(update);
    const doc = new Y.Doc();
    Y.applyUpdate(doc, update);
    doc.getText(ROOT).toString();
    return null;
  } catch {
    return `${SHAPE}: it cannot be read`;
  }
}

/** The texts that an update inserts, including those that wait for other updates. */
function insertedBy(value: JsonValue): string[] {
  const { structs } = Y.decodeUpdate(fromBase64(String(value)));
  return structs.flatMap((item) => (item instanceof Y.Item && item.content instanceof Y.ContentString ? [item.content.str] : []));
}

/** The document of a state. An update that fails over what others made stays applied as far as it came: the same everywhere, because the order is the same. */
function docOf(state: JsonValue | undefined): Y.Doc {
  const doc = new Y.Doc();
  doc.getText(ROOT);
  for (const [, , update] of ((state ?? { u: [] }) as unknown as State).u) {
    try {
      Y.applyUpdate(doc, fromBase64(update));
    } catch {}
  }
  return doc;
}

const texts = new WeakMap<object, string>();

function textOf(state: JsonValue): string {
  const known = texts.get(state as object);
  if (known !== undefined) return known;
  let text = "";
  try {
    text = docOf(state).getText(ROOT).toString();
  } catch {}
  texts.set(state as object, text);
  return text;
}

/**
 * A text that several edit at once, by Yjs: all insertions are kept, in one order for all. A write is what `editText` gives, or the base64 of
 * any Yjs update (version 1) of a document whose text is named "text". Reading applies all updates, so its cost grows with the number of
 * writes: write once per saved edit, not per key. Source: https://docs.yjs.dev/api/document-updates
 */
export const collaborativeText: Crdt = {
  name: "collaborativeText",
  version: 1,
  columns: ["text"],
  problem: problemOf,
  join(state, { by, value }) {
    if (typeof value !== "string") throw new TypeError(`collaborativeText: ${SHAPE}`);
    const { u } = (state ?? { u: [] }) as unknown as State;
    const at = findRow(u, by);
    if (at >= 0) return state!;
    return { u: u.toSpliced(-1 - at, 0, [by.origin, by.seq, value]) };
  },
  read: textOf,
  texts: insertedBy,
};

/** A text that an app changes: the part of Yjs' own `Y.Text` that an editor needs, so that its users need neither Yjs' types nor a browser's. */
export interface EditableText {
  readonly length: number;
  insert(index: number, text: string): void;
  delete(index: number, length: number): void;
  toString(): string;
}

/**
 * The write that makes this edit on what a replica holds; `null` when it changes nothing.
 *
 *     const value = editText(state, (text) => text.insert(0, "Amina: "));
 *
 * Without a `clientId`, Yjs draws one at random for this edit. Give one (an integer below 2^32) only if no one else uses it and the state
 * holds all that was ever written with it.
 */
export function editText(state: JsonValue | undefined, edit: (text: EditableText) => void, clientId?: number): string | null {
  const doc = docOf(state);
  if (clientId !== undefined) doc.clientID = clientId;
  const updates: Uint8Array[] = [];
  doc.on("update", (update: Uint8Array) => updates.push(update));
  doc.transact(() => edit(doc.getText(ROOT)));
  return updates.length === 0 ? null : toBase64(Y.mergeUpdates(updates));
}
