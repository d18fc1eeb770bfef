import {
  type EntityRef,
  HUB_SITE,
  isOneOf,
  type JsonObject,
  type JsonValue,
  type OriginId,
  RESOLVED,
  TributaryError,
} from "../core/index.ts";
import type { Appended } from "../field/index.ts";
import { DELETED, type DecidedRule, type Projection } from "../merge/engine.ts";
import { checkColumns, checkForms } from "./decided.ts";
import { type By, type Desk, noted } from "./desk.ts";
import { picked } from "./pick.ts";
import { columnValues, type Matter, type Opened, openMatter } from "./standing.ts";

/** What is decided: one of the values that stand, by its code or `origin/seq`; or another value. */
export type Chosen = { readonly pick: string } | { readonly value: JsonValue };

export interface DecideRequest extends By {
  readonly matter: Matter;
  readonly chosen: Chosen;
}

export interface Decided {
  /** As `type/id`. */
  readonly entity: string;
  readonly register: string;
  readonly value: JsonValue;
  readonly event: Appended;
}

/**
 * Decides a conflict: writes an event of the hub's own origin whose basis covers all values that stand side by side, so it replaces them. Throws `not-permitted` where only
 * others have the say; `usage` and `event-invalid` for a value that cannot be decided on; `not-found`.
 */
export async function decide(desk: Desk, decision: DecideRequest): Promise<Decided> {
  const opened = await openMatter(desk, decision.matter);
  const { entity, value, data } = decisionOn(desk, opened, decision);
  const { appended } = await desk.write(
    [{ type: RESOLVED, entity, data, actor: decision.actor }],
    [{ entity, seen: opened.state.seen }],
  );
  return { entity: `${entity.type}/${entity.id}`, register: opened.rule.name, value, event: appended[0]! };
}

/** What is decided about a register, and the data of the event that says so. */
export interface Outcome {
  readonly entity: EntityRef;
  readonly value: JsonValue;
  readonly data: JsonObject & { readonly values: JsonObject };
}

/** The checks of a decision, and the event's data. Reads and writes nothing. Throws as `decide` does. */
export function decisionOn(
  desk: Pick<Desk, "org" | "gate">,
  opened: Opened,
  { chosen, actor, note }: Omit<DecideRequest, "matter">,
): Outcome {
  const { projection, id, rule } = opened;
  checkSay(desk, actor, projection, rule);
  const value = valueChosen(opened, chosen);
  const data = dataOf(opened, value, note);
  checkColumns(projection, data.values);
  checkForms(desk.gate, projection.entity, data.values);
  return { entity: { type: projection.entity, id }, value, data };
}

/** Throws `not-permitted` where somebody at the hub has no say over a register. */
function checkSay({ org }: Pick<Desk, "org">, actor: string, { name }: Projection, rule: DecidedRule): void {
  const author = { origin: `${org}.${HUB_SITE}.console.x` as OriginId, actor };
  if (rule.authority === null || isOneOf(rule.authority, author)) return;
  const whose = Object.entries(rule.authority).map(([kind, names]) => `${kind} ${[names].flat().join(", ")}`);
  throw new TributaryError(
    "not-permitted",
    `${actor} at the hub of ${org} has no say over ${name}.${rule.name}`,
    `It is for ${whose.join("; ")}. They decide by an event of type ${RESOLVED}.`,
  );
}

function valueChosen({ rule, values }: Opened, chosen: Chosen): JsonValue {
  if ("value" in chosen) {
    if (rule.name === DELETED && typeof chosen.value !== "boolean")
      throw new TributaryError("usage", `whether it is ${DELETED} is true or false`, "Say true (gone) or false (there).");
    return chosen.value;
  }
  if (values.length === 0)
    throw new TributaryError("usage", `nobody has written ${rule.name}: there is nothing to pick`, "Set a value.");
  return picked(chosen.pick, values).value;
}

function dataOf({ rule, caseId }: Opened, value: JsonValue, note: string | undefined): Outcome["data"] {
  return {
    values: columnValues(rule, value),
    ...(rule.name === DELETED ? { deleted: value } : {}),
    ...(caseId === null ? {} : { case: caseId }),
    ...noted(note),
  };
}
