/**
 * States around values that a replica may not see. A state does not say which event wrote a value, so a register is masked if any event that the view takes may have written a withheld value into it: what is
 * masked wrongly shows as withheld until the events come, and nothing is shown wrongly.
 */
import { ALL_WITHHELD, type JsonObject, type Seq } from "../core/index.ts";
import { type EntityState, registerOf } from "./fold.ts";
import { type Projection, RESOLVED } from "./projection.ts";
import type { Sibling } from "./register.ts";

/** What of a view's states a replica may not see. */
export interface Mask {
  /** Registers whose values may be withheld. */
  readonly registers: ReadonlySet<string>;
  /** Members of events' data that may be, which rules look at. */
  readonly members: readonly string[];
}

/** What is masked in the states of a view. `withholds`: the members of events of a type that may be withheld, with `ALL_WITHHELD` among them where any may be. `null`: nothing is. */
export function maskOf(projection: Projection, withholds: (type: string) => readonly string[]): Mask | null {
  const columns = new Set<string>();
  const members = new Set<string>();
  for (const type of projection.eventTypes) {
    const names = withholds(type);
    for (const column of projection.columnsFrom(type, names)) columns.add(column);
    // A person's decision has nothing of what rules look at.
    if (type !== RESOLVED) for (const name of names) members.add(name);
  }
  const registers = new Set<string>();
  for (const { name, columns: of } of projection.registers.values())
    if (of.some((column) => columns.has(column))) registers.add(name);
  return registers.size === 0 && members.size === 0 ? null : { registers, members: [...members] };
}

/** The state without what is masked: its registers are unresolved, as if their events had come with these values withheld. */
export function maskedState(projection: Projection, state: EntityState, { registers: hidden, members }: Mask): EntityState {
  const isHidden = (name: string): boolean => hidden.has(name) || !projection.registers.has(name);
  const registers = Object.fromEntries(
    Object.entries(state.registers).map(([name, { context, siblings }]) => {
      const isWithheld = isHidden(registerOf(name));
      return [name, { context, siblings: siblings.map((sibling) => maskedSibling(sibling, isWithheld, members)) }];
    }),
  );
  const gone = Object.keys(state.merged).filter(isHidden);
  if (gone.length === 0) return { ...state, registers };
  // Which of the entity's events wrote to it is not known: the last of each author stands for them.
  const dots = Object.fromEntries(Object.entries(state.seen).map(([origin, seq]): [string, Seq[]] => [origin, [seq]]));
  return {
    ...state,
    registers,
    merged: Object.fromEntries(Object.entries(state.merged).filter(([name]) => !gone.includes(name))),
    unseen: { ...state.unseen, ...Object.fromEntries(gone.map((name) => [name, dots])) },
  };
}

function maskedSibling(sibling: Sibling, isWithheld: boolean, members: readonly string[]): Sibling {
  const { read, ...rest } = sibling;
  const isMember = (name: string): boolean => members.includes(ALL_WITHHELD) || members.includes(name);
  const lacks = read !== undefined && Object.keys(read).some(isMember);
  if (!isWithheld && !lacks) return sibling;
  const left: JsonObject = Object.fromEntries(
    Object.entries(read ?? {}).map(([name, value]) => [name, isMember(name) ? null : value]),
  );
  return {
    ...rest,
    ...(isWithheld ? { value: null, withheld: true } : {}),
    ...(read === undefined ? {} : { read: left }),
    ...(lacks ? { unread: true } : {}),
  };
}
