import { HUB_SITE, maySee, nameOf, type OriginId, TributaryError } from "../../core/index.ts";
import type { Decided, Desk, Written } from "../../desk/index.ts";
import type { Db } from "../../views/index.ts";
import { liveViews } from "./answers-views.ts";
import type { Asking } from "./hub.ts";

/**
 * Runs `work` at the desk as somebody sees it: all that the desk reads is read as this person, so it finds nothing that is not theirs, and so decides nothing. What it writes is an event of the hub.
 */
export const atDesk = <T>({ hub, principal }: Asking, work: (desk: Desk) => Promise<T>): Promise<T> => {
  const { gate, org, write } = hub;
  const projections = liveViews(hub);
  return hub.reading.decide(principal.viewer, (db: Db) => work({ db, gate, projections, org, write }));
};

/** Who decides, and what they say about it. */
export const byOf = ({ principal }: Asking, note?: string | null) => ({
  actor: principal.subject,
  ...(note === null || note === undefined ? {} : { note }),
});

/** A site as people name it, of their own organisation unless they name one. Throws `not-permitted` for one of an organisation whose rows they do not see. */
export function siteMeant(
  { principal }: Asking,
  site: string,
  org?: string | null,
): { readonly org: string; readonly site: string } {
  const of = nameOf("organisation", org ?? principal.org);
  if (site === HUB_SITE) throw new TributaryError("not-permitted", `${site} is the hub's own site`, "Name a site in the field.");
  if (maySee(principal.viewer, of)) return { org: of, site: nameOf("site", site) };
  throw new TributaryError(
    "not-permitted",
    `${principal.subject} of ${principal.org} has no say over sites of ${of}`,
    "Its own people do, and the hub's people who see all organisations.",
  );
}

/** What was written, and what became of it. */
export function writtenEvents({ appended, sync }: Written): readonly {
  readonly id: string;
  readonly origin: OriginId;
  readonly seq: number;
  readonly quarantined: string | null;
}[] {
  const reasons = new Map(sync.quarantined.map(({ seq, reason }) => [Number(seq), reason]));
  return appended.map(({ id, origin, seq }) => ({ id, origin, seq, quarantined: reasons.get(seq) ?? null }));
}

/** An event of which nothing else is known than that it was written. */
export const writtenEvent = ({ id, origin, seq }: Decided["event"]) => ({ id, origin, seq, quarantined: null });
