/** What the tests of rules share: siblings that are often given, rules of the project's own, and the check of what a rule shows in any order. */
import { expect } from "vitest";
import type { JsonValue } from "../../services/core/index.ts";
import {
  type CustomRule,
  NO_CONTEXT,
  type Reason,
  type ResolveContext,
  type Resolver,
  type Sibling,
} from "../../services/merge/engine.ts";
import { custom } from "../../services/merge/index.ts";
import { HUB, JUBA, KAMPALA, NAIROBI, orders, wrote } from "./writes.ts";

export interface Example {
  readonly rule: Resolver;
  readonly given: readonly Sibling[];
  readonly shows: JsonValue;
  readonly because: Reason;
  readonly isOpen?: boolean;
  readonly context?: ResolveContext;
}

/** Checks an example with the siblings in every order. */
export function expectExample({ rule, given, shows, because, isOpen, context = NO_CONTEXT }: Example): void {
  for (const siblings of orders(given)) {
    const { winner, reason, merged, isOpen: open } = rule.resolve(siblings, context);
    expect({ shows: merged === undefined ? winner.value : merged, reason, isOpen: open === true }).toEqual({
      shows,
      reason: because,
      isOpen: isOpen === true,
    });
    expect(siblings).toContain(winner);
  }
}

export const [early, late] = [wrote(NAIROBI, "early", { hour: 8 }), wrote(JUBA, "late", { hour: 9 })];
export const fromTheFuture = wrote(KAMPALA, "2028", { hour: 20_000, clockWrong: true });
export const fromThePast = wrote(KAMPALA, "2024", { hour: -20_000, clockWrong: true });
export const inLog = [wrote(NAIROBI, "at 7", { position: 7, hour: 9 }), wrote(JUBA, "at 9", { position: 9, hour: 8 })];
export const pending = wrote(HUB, "not yet sent", { hour: 1 });

export const ruleOf = (resolve: CustomRule["resolve"]): Resolver => custom({ name: "ours", version: 1, resolve });

export const three = [wrote(NAIROBI, "aa"), wrote(JUBA, "bb"), wrote(HUB, "c")];
