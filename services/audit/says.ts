import type { Parked, Placeholders } from "../views/index.ts";
import type { Counted } from "./compare-all.ts";
import type { Compared } from "./compared.ts";
import type { Read } from "./read-log.ts";
import type { SignatureReport } from "./signatures.ts";
import type { Findings, Verdicts } from "./verdicts.ts";

/* What is said of each part where nothing is wrong with it. */

export const logSays = ({ events, origins }: Read, { runs, unsigned }: SignatureReport): string =>
  `${events} events of ${origins.size} origins stand in order, each with the hash of its content and of all before it; ${runs} signatures of runs are good, ${unsigned} events are covered by none`;

export function auditSays({ events, expected }: Read, { rows, mute, untried, held }: Placeholders): string {
  const also = [
    expected === events ? "" : `; ${events - expected} events of the log are not folded yet`,
    rows === 0 ? "" : `; ${rows} stand with placeholders, by what the table refused`,
    mute === 0 ? "" : `, ${mute} of them without a word of their events`,
    mute === untried ? "" : `: tried again, the table refuses ${untried === 0 ? "it" : `${mute - untried} of them`} still`,
    untried === 0
      ? ""
      : `; whether the table refuses ${untried} of them still could not be tried: by a role that may not write there, or for who was in the way`,
    held === 0 ? "" : `; ${held} entries of the list stand with placeholders, by a note in the audit`,
  ];
  return `${expected} rows hold what the log says, column by column, and so does the list of quarantined events${also.join("")}`;
}

export const viewsSay = ({ rows, views, untold }: Counted, { notCompared }: Compared): string =>
  `${rows} rows of ${views} views and their past are what folding the log gives${notCompared.length === 0 ? "" : `; not compared, being declared otherwise than they were built, or not at all: ${notCompared.join(", ")}`}${
    untold.version === 0 ? "" : `; ${untold.version} versions are not kept, by a note in the audit`
  }`;

export const parkedSay = ({ length }: readonly Parked[], { untold }: Counted): string =>
  length === 0
    ? "no entity is parked"
    : `${length} ${length === 1 ? "entity is" : "entities are"} parked, and told of: no problem${
        untold.waiting === 0 ? "" : `; ${untold.waiting} of them would be so no more, and wait since just now to be folded anew`
      }${untold.parked === 0 ? "" : `; whether ${untold.parked} of them would be parked again could not be tried just now`}`;

export function summaryOf(
  findings: Findings,
  verdicts: Verdicts,
  besides: Compared | null,
  placeholders: Placeholders | null,
): string {
  const bad = Object.entries(verdicts).flatMap(([part, { state, problems }]) => (state === "bad" ? [`${part} ${problems}`] : []));
  if (bad.length > 0) return `${findings.count()} ${findings.count() === 1 ? "problem" : "problems"}: ${bad.join(", ")}.`;
  const isAll =
    besides === null || (besides.notCompared.length === 0 && besides.parked.length === 0 && placeholders?.untried === 0);
  return isAll ? "All of it agrees." : "All that was compared agrees.";
}
