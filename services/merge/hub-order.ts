/** The order of a hub that a rule names. */
import { type IncarnationId, isIncarnationId, type Place, TributaryError } from "../core/index.ts";
import type { Author } from "./register.ts";

/** The hub whose order counts for a rule, by the id of its log's first incarnation, which backups and restores keep. */
export interface InOrderOf {
  readonly hub: string;
}

/** A rule's name, with the hub that it names, so that whatever shows a decision shows whose order it followed. */
export const nameInOrderOf = (name: string, hub: IncarnationId | undefined): string =>
  hub === undefined ? name : `${name} of hub ${hub}`;

/** The hub that a declaration names. Throws `projection-malformed` if it cannot be one. */
export function namedHub(rule: string, options: InOrderOf | undefined): IncarnationId | undefined {
  if (options === undefined) return undefined;
  if (isIncarnationId(options.hub)) return options.hub;
  throw new TributaryError(
    "projection-malformed",
    `${rule} names a hub ${JSON.stringify(options.hub)}`,
    "Name it by the id of its log's first incarnation, 12 of the characters a-z and 2-7.",
  );
}

/** A write's place: in the order of the hub that is named, or in the home hub's log. `null`: it has none yet. */
export function placeIn(hub: IncarnationId | undefined, { position, places }: Pick<Author, "position" | "places">): Place | null {
  if (hub === undefined) return position === null ? null : [position, 0];
  return places?.[hub] ?? null;
}
