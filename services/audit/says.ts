import type { Parked, Placeholders } from "../views/index.ts";
import type { Counted } from "./compare-all.ts";
import type { Compared } from "./compared.ts";
import type { Read } from "./read-log.ts";
import type { SignatureReport } from "./signatures.ts";
import type { Findings, Verdicts } from "./verdicts.ts";

/* What is said of each part when it has no problems. */

const events = (count: number): string => (count === 1 ? "1 event" : `${count} events`);

export const logSays = (read: Read, { runs, unsigned, notes }: SignatureReport): string =>
  `${events(read.events)} of ${read.origins.size} origins stand in order, each with the hash of its content and of all before it; ${runs} signatures of runs are good, and ${
    unsigned === 0 ? "they cover all events" : `no signature covers ${events(unsigned)}`
  }${notesSay(notes)}`;

/** What is said of the hub's notes: nothing of a log whose hub has never signed any. */
const notesSay = ({ signed, unsigned }: SignatureReport["notes"]): string =>
  signed === 0 ? "" : `; the hub's notes are signed${unsigned === 0 ? "" : `, but those on ${events(unsigned)}`}`;

export function auditSays(read: Read, placeholders: Placeholders): string {
  const late = read.events - read.expected;
  const also = [
    late === 0 ? "" : `; ${events(late)} of the log ${late === 1 ? "is" : "are"} not folded yet`,
    placeholdersSay(placeholders),
    placeholders.held === 0 ? "" : `; ${placeholders.held} entries of the list hold placeholders, as a note in the audit says`,
  ];
  return `${read.expected} rows hold what the log says, column by column, and so does the list of quarantined events${also.join("")}`;
}

/**
 * Rows that hold less than the log says, because the table did not take it. `mute` of them hold nothing of their events, and for `untried` of these nobody
 * could try again.
 */
function placeholdersSay({ rows, mute, untried }: Placeholders): string {
  if (rows === 0) return "";
  const held = rows === 1 ? "; 1 row holds placeholders" : `; ${rows} rows hold placeholders`;
  const told = `${held} for what the table refused`;
  if (mute === 0) return told;
  const tried = mute - untried;
  return [
    `${told}, and ${mute} of them ${mute === 1 ? "holds" : "hold"} nothing of the event`,
    tried === 0 ? "" : `: tried again, the table still refuses ${untried === 0 ? "it" : `${tried} of them`}`,
    untried === 0
      ? ""
      : `; whether the table still refuses ${untried} of them could not be tried: this role may not write there, or something was in the way`,
  ].join("");
}

export const viewsSay = ({ rows, views, untold }: Counted, { notCompared }: Compared): string =>
  [
    `${rows} rows of ${views} views and their past are what folding the log gives`,
    notCompared.length === 0
      ? ""
      : `; not compared, because they were built by another declaration or are not declared at all: ${notCompared.join(", ")}`,
    untold.placing === 0
      ? ""
      : `; ${untold.placing} of them could not be compared: their events have just got places in a hub's order, and a projector is about to fold them again`,
    untold.version === 0 ? "" : `; ${untold.version} versions are not kept, as a note in the audit says`,
  ].join("");

export const parkedSay = ({ length }: readonly Parked[], { untold }: Counted): string =>
  length === 0
    ? "no entity is parked"
    : [
        `${length} ${length === 1 ? "entity is" : "entities are"} parked, and the log shows why: no problem`,
        untold.waiting === 0
          ? ""
          : `; ${untold.waiting} of them would no longer be parked, and a projector is about to fold ${untold.waiting === 1 ? "it" : "them"} again`,
        untold.parked === 0 ? "" : `; whether ${untold.parked} of them would be parked again could not be tried just now`,
      ].join("");

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
