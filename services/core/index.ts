/**
 * The pure heart: events, their clock, chain, vectors and wire form. In come plain values; out come plain values.
 * Never I/O, a clock, randomness or a Node API: what differs between Node and a browser is passed in (`node.ts`).
 */
export * from "./authority.ts";
export * from "./batch.ts";
export * from "./case.ts";
export * from "./chain.ts";
export * from "./clip.ts";
export * from "./enrolled.ts";
export type * from "./entry.ts";
export * from "./errors.ts";
export * from "./event.ts";
export * from "./hlc.ts";
export * from "./ids.ts";
export type * from "./incarnation.ts";
export type * from "./journal.ts";
export * from "./json.ts";
export * from "./nats.ts";
export * from "./protocol.ts";
export * from "./protocol-version.ts";
export * from "./ranges.ts";
export * from "./release.ts";
export * from "./signing.ts";
export * from "./vector.ts";
