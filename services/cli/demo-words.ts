/** The demo's words: what a coordinator would say of a day, a person, a decision. Pure: facts go in; sentences without positions, hashes or paths come out. */
import { DELETED } from "../merge/engine.ts";
import type { RecordedDecision } from "../views/index.ts";

import { shown } from "./output.ts";
import { REASONS } from "./story.ts";

const STORY_YEAR = 2026;
const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];

/** `2026-05-03T…` as “3 May”; a year other than the story's is named. */
export function day(iso: string): string {
  const [year, month, date] = iso.slice(0, 10).split("-").map(Number);
  const text = `${date} ${MONTHS[(month ?? 1) - 1]}`;
  return year === STORY_YEAR ? text : `${text} ${year}`;
}

const ISO_DAY = /^\d{4}-\d\d-\d\d$/;
/** A value as it stands in a sentence. */
export const said = (value: unknown): string =>
  typeof value !== "string" ? shown(value) : ISO_DAY.test(value) ? day(value) : value;

/** `wanjiku` as people write it. */
export const named = (name: string): string =>
  name
    .split("-")
    .map((part) => part.slice(0, 1).toUpperCase() + part.slice(1))
    .join(" ");

const FIELDS: Readonly<Record<string, string>> = {
  household_size: "household",
  preferred_language: "language",
  registered_on: "day of registration",
  given_name: "name",
};
export const fieldName = (column: string): string => FIELDS[column] ?? column.replaceAll("_", " ");

const WHY: Partial<Record<RecordedDecision["reason"], string>> = {
  "later-stamp": "it was written later",
  "clock-trusted": "the other's clock is known to be wrong",
  authority: "its agency has the say over this field",
  "site-priority": "the agencies ranked its desk first",
};
/** Why a value is shown and not another. */
export const why = (reason: RecordedDecision["reason"]): string => WHY[reason] ?? REASONS[reason];

type Told = Pick<RecordedDecision, "entity" | "register" | "reason" | "winner" | "losers">;

const asSaid = (register: string, value: unknown): string =>
  register !== DELETED ? said(value) : value === true ? "off the list" : "on the list";

/** A decision between values that were written side by side. */
export function decided({ entity, register, reason, winner, losers }: Told): string {
  const by = ({ by: { actor, origin } }: Told["winner"]): string => `${named(actor)} in ${named(origin.split(".")[1] ?? origin)}`;
  const others = losers.map((loser) => `${asSaid(register, loser.value)} (${by(loser)})`).join(" and ");
  const what = register === DELETED ? "" : `, ${fieldName(register)}`;
  return `${entity}${what}: ${asSaid(register, winner.value)} (${by(winner)}) is shown, since ${why(reason)}. Kept beside it: ${others}.`;
}

/** Decisions as sentences: those that are told one by one, then one of each other kind with the number of others like it. A kind is a field and a reason. */
export function summedUp(decisions: readonly Told[], isTold: (decision: Told) => boolean): readonly string[] {
  const others = decisions.filter((each) => !isTold(each));
  const kindOf = ({ register, reason }: Told): string => `${register}/${reason}`;
  const kinds = [...new Set(others.map(kindOf))];
  return [
    ...decisions.filter(isTold).map(decided),
    ...kinds.flatMap((kind) => {
      const alike = others.filter((each) => kindOf(each) === kind);
      const like = alike.length === 1 ? "" : ` ${alike.length - 1} more like it.`;
      return alike.slice(0, 1).map((first) => decided(first) + like);
    }),
  ];
}
