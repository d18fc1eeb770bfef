/**
 * What a projection or an app names of the fields that merge by themselves: counter, sets, map, list and two texts, and how an app writes them. In comes a write
 * with its author and basis; out comes a state that is a function of the set of writes. There is no I/O, no clock and never a decision to make. Each kind names its bounds.
 */
export { counter } from "./counter.ts";
export { addWinsSet, lwwMap, removeWinsSet } from "./keyed.ts";
export { type ListEntry, listEntries, orderedList } from "./list.ts";
export { composeEdit, sequencedText, sequencedTextOf } from "./text-ot.ts";
export { collaborativeText, type EditableText, editText } from "./text-yjs.ts";
