/** Stories of rows in words: who wrote what, and what decided. They are told by the hub and by devices alike. */
import { DELETED, type Decision, isResolution, type Reason, type RegisterStory, type Step } from "../merge/engine.ts";
import { shown } from "./output.ts";

/** Why a rule chose a value. */
export const REASONS: Readonly<Record<Reason, string>> = {
  "later-stamp": "its stamp is later",
  "origin-tie": "the stamps are equal; the origin's name decided",
  "clock-trusted": "the other's clock is known to be wrong",
  "earlier-stamp": "its stamp is earlier",
  "later-in-log": "it came later into the log",
  "earlier-in-log": "it came earlier into the log",
  "longer-history": "its author had seen more of the history",
  "site-priority": "its site comes first in the rule's order",
  authority: "its author has the say over this field",
  "field-priority": "another field of the same event ranks it above",
  greater: "it is the greater value",
  lesser: "it is the lesser value",
  merged: "all values count",
  "deletion-outranks": "a deletion holds against changes made beside it",
  "change-outranks": "a change holds against deletions made beside it",
  "awaits-person": "a person is to decide; the latest is shown meanwhile",
  custom: "by the project's own rule",
};

/** A moment as a story tells it. */
const when = (iso: string): string => `${iso.slice(0, 10)} ${iso.slice(11, 16)}`;
const where = ({ org, site }: Pick<Step, "org" | "site">): string => (site === "hub" ? "the hub" : `${site} (${org})`);

/** Where a write stands in the hub's log, as far as that is known. */
const placeWords = ({ recordedAt, position }: Step): string =>
  recordedAt === null || position === null ? "not in the hub's log yet" : `recorded ${when(recordedAt)}, position ${position}`;

const worded = (register: string, value: unknown, withheld?: true): string =>
  withheld === true ? "a withheld value" : register === DELETED ? (value === true ? "deleted" : "there") : shown(value);

/** What a rule made of values that stand side by side, in a sentence. */
function verdict(register: string, { rule, ruleVersion, reason, value, isOpen }: Decision): string {
  const how = `${rule}${ruleVersion === 1 ? "" : ` ${ruleVersion}`}: ${REASONS[reason]}`;
  return isOpen
    ? `Nobody has decided yet; ${worded(register, value)} is shown meanwhile (${how}).`
    : `${worded(register, value)} is shown (${how}).`;
}

/** How a write relates to the writes that were told before it. */
function relationLines({ replaces, cannotReplace, seenBy, stands, beside }: Step, name: (event: string) => string): string[] {
  const all = (events: readonly string[]): string => events.map(name).join(" and ");
  const lines: string[] = [];
  if (seenBy.length > 0)
    lines.push(
      stands
        ? `came late: ${all(seenBy)} had seen it, but only those with the say can replace it`
        : `came late: already replaced by ${all(seenBy)}`,
    );
  if (replaces.length > 0) lines.push(`having seen ${all(replaces)}`);
  if (cannotReplace.length > 0) lines.push(`having seen ${all(cannotReplace)}, which only those with the say can replace`);
  if (beside.length > 0)
    lines.push(
      `beside ${all(beside)}: ${beside.length === 1 ? "neither had seen the other's" : "their authors and this one had not seen one another's"}`,
    );
  return lines;
}

/** A register's story, a few lines for each write. */
export function storyLines({ register, steps, decision, value, withheld, rule, leftOut }: RegisterStory): string[] {
  const byEvent = new Map(steps.map((step) => [step.event, step]));
  const name = (event: string): string => {
    const step = byEvent.get(event);
    return step === undefined ? event : `${worded(register, step.value, step.withheld)} by ${step.actor} at ${where(step)}`;
  };
  const lines = [
    `${register}: ${withheld === true ? "withheld" : worded(register, value)}${decision === null ? "" : "  ← contested"}   [rule: ${rule}]`,
  ];
  for (const step of steps) {
    const clock = step.clockWrong ? ", by a clock known to be wrong" : "";
    const act = isResolution(step)
      ? "decided on"
      : register === DELETED
        ? step.value === true
          ? "deleted it"
          : "wrote: it is"
        : "wrote";
    const what = register === DELETED && step.value === true ? "" : ` ${worded(register, step.value, step.withheld)}`;
    lines.push(`  ${when(step.occurredAt)}  ${step.actor} at ${where(step)} ${act}${what}${clock}  (${placeWords(step)})`);
    for (const line of [...relationLines(step, name), ...step.notes]) lines.push(`      ${line}`);
    if (step.beside.length + step.cannotReplace.length > 0 || (step.stands && step.seenBy.length > 0))
      lines.push(
        `      ${step.decision !== null ? verdict(register, step.decision) : withheld === true ? "What stands there is withheld, so nothing was decided here." : "They agree, so there was nothing to decide."}`,
      );
  }
  if (decision !== null)
    for (const loser of decision.losers)
      lines.push(`  Kept beside it: ${worded(register, loser.value)} by ${loser.by.actor}, ${loser.by.origin}/${loser.by.seq}.`);
  for (const left of leftOut) lines.push(`  Not in what is shown: ${left}.`);
  return lines;
}
