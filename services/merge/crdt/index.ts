/**
 * The registers that merge by themselves: counter, sets, map, list and two texts. In comes a write with its author and basis; out comes a state that is
 * a function of the set of writes. Never I/O, a clock or a decision to make; each kind names its bounds.
 */
export { counter } from "./counter.ts";
export { addWinsSet, lwwMap, MAX_KEYS_PER_WRITE, removeWinsSet } from "./keyed.ts";
export { type EntryId, type ListEntry, listEntries, MAX_VALUES_PER_WRITE, orderedList } from "./list.ts";
export {
  composeEdit,
  MAX_CONCURRENT_OPS,
  MAX_OP_PARTS,
  sequencedText,
  type TextProblem,
  textProblems,
} from "./text-ot.ts";
export { collaborativeText, type EditableText, editText, MAX_UPDATE_CHARS } from "./text-yjs.ts";
