import type { Position } from "../../core/index.ts";
import type { Admission, Grant, Write } from "../../desk/index.ts";
import type { Gate, Registry } from "../../gate/index.ts";
import type { Principal } from "../../http/index.ts";
import type { View } from "../../merge/engine.ts";
import type { Live } from "../live.ts";
import type { Database } from "./database.ts";
import type { GraphqlLimits } from "./limits.ts";

/** What programs ask of a hub. Whoever opens the hub hands all of it in. */
export interface ApiHub {
  /** The hub's organisation. */
  readonly org: string;
  readonly reading: Database;
  /** What changes, for those who follow it. */
  readonly live: Live;
  readonly gate: Gate;
  readonly registry: Registry;
  /** The views as they are live; `null`: they are not built yet. */
  views(): readonly View[] | null;
  /** How far the log goes; `null`: it is empty. */
  logEnd(): Promise<Position | null>;
  /** Writes what the hub's people decide. */
  readonly write: Write;
  /** Writes through an origin that the hub keeps for programs of an organisation. It speaks for no hub: what only a hub's people may write, it may not. */
  writeOf(org: string): Write;
  /** Makes what lets a site's devices in. */
  admit(grant: Grant): Promise<Admission>;
  /** Refuses a site (`org.site`) from now on. Returns its devices that were enrolled. */
  revokeSite(site: string, by: { readonly actor: string; readonly reason?: string }): Promise<readonly string[]>;
  readonly limits?: Partial<GraphqlLimits>;
  say(event: Record<string, unknown>): void;
}

/** Who asks, and of which hub. */
export interface Asking {
  readonly principal: Principal;
  readonly hub: ApiHub;
  /** Who it is as of now, of somebody who stays connected. Throws for somebody who may not ask any more. */
  readonly again?: () => Promise<Principal>;
}

/** Arguments as the schema has checked them: a member that somebody left out is not there, or `null`. */
export type Args = Readonly<Record<string, unknown>>;

/**
 * Answers a field of the root. The right that the field takes was asked before. It is the type of a method, so that each answers by the arguments that its own field declares: GraphQL checks
 * them before.
 */
export type Answering = { answer(args: never, asking: Asking): unknown }["answer"];

/** The fields of one of the schema's roots. */
export type Answers = Readonly<Record<string, Answering>>;

type Told<T> = { readonly [K in keyof T]?: Exclude<T[K], null | undefined> };
/** Members that were given: without those that are `null` or left out. */
export function given<T extends object>(members: T): Told<T> {
  const kept = Object.entries(members).filter(([, value]) => value !== null && value !== undefined);
  // Entries lose the types of their members.
  return Object.fromEntries(kept) as Told<T>;
}
