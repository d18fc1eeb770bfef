/**
 * Registers, resolvers and the projection language. In come events and declarations; out come states, rows and decisions.
 * Never I/O; never an outcome that depends on the order, repetition or delay of arrival.
 */
export * from "./anew.ts";
export * from "./columns.ts";
export * from "./crdt/index.ts";
export type { Crdt, CrdtWrite } from "./crdt.ts";
export * from "./fold.ts";
export { type CheckedRow, checkInvariants, isBroken, problemOfTotal, seenRow } from "./invariants.ts";
export * from "./misfit.ts";
export * from "./narrow.ts";
export * from "./projection.ts";
export * from "./register.ts";
export * from "./resolvers.ts";
export * from "./state.ts";
export * from "./views.ts";
