/** Whether a view, as it was built, can read what is written with a schema. */
import type { SchemaRef } from "../core/index.ts";
import { canRead, type Gate, type Pins } from "../gate/index.ts";

/** Thrown where a version was registered that a view, as it was built, cannot read: the view must be rebuilt. */
export class StaleViewError extends Error {}

const readable = new WeakMap<Gate, Map<string, boolean>>();

/** Whether a view with these pins can read what is written with a schema. Each pair of versions is compared once. */
export function isReadable(gate: Gate, pins: Pins, { subject, version }: SchemaRef): boolean {
  const pinned = pins[subject];
  // The subject was not there when the view was built: the view must be rebuilt with it.
  if (pinned === undefined) return !gate.knows({ subject, version });
  if (version <= pinned) return true;
  const versions = gate.store.versions(subject);
  const [reader, writer] = [versions[pinned - 1], versions[version - 1]];
  if (reader === undefined || writer === undefined) return true;
  const known = readable.get(gate) ?? new Map<string, boolean>();
  readable.set(gate, known);
  const key = `${subject}:${pinned}<${version}`;
  let answer = known.get(key);
  if (answer === undefined) {
    answer = canRead(reader, writer, gate.casters);
    known.set(key, answer);
  }
  return answer;
}
