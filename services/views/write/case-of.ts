import { createHash } from "node:crypto";
import type { JsonValue, Position } from "../../core/index.ts";

/** A case as it stands after a page: what is to be decided, or that nothing is to be decided any more. */
export interface CaseNow {
  readonly view: string;
  readonly generation: number;
  readonly kind: "register" | "invariant";
  readonly entityType: string;
  /** The entity, or the key that entities share. */
  readonly subject: string;
  /** The register or the invariant. */
  readonly rule: string;
  /** `null`: there is no case. */
  readonly about: JsonValue | null;
  /** What a person's decision holds for, where that is not all of `about`: when it changes, the case opens again. */
  readonly matter?: JsonValue;
  readonly says: string;
  readonly position: Position;
  /** The organisation whose entities alone it is about. Default: it is about those of all. */
  readonly org?: string;
  readonly targets: readonly string[];
}

/** A case's name: the same in every build of the view, so that what people noted stays with it. */
export const caseIdOf = ({
  view,
  kind,
  subject,
  rule,
  org,
}: Pick<CaseNow, "view" | "kind" | "subject" | "rule" | "org">): string =>
  createHash("sha256")
    .update(JSON.stringify([view, kind, rule, subject, ...(org === undefined ? [] : [org])]))
    .digest("hex")
    .slice(0, 12);

/** The id of the case across all organisations that a case of one belongs to; the case's own id, where it is about those of all. */
export const overallIdOf = ({ view, kind, subject, rule }: Parameters<typeof caseIdOf>[0]): string =>
  caseIdOf({ view, kind, subject, rule });

/** A hash of what a person's decision holds for. */
export const markOf = ({ about, matter = about }: CaseNow): string =>
  createHash("sha256").update(JSON.stringify(matter)).digest("hex").slice(0, 16);

/** How many entities of a case are listed; the others are only counted. */
export const MAX_MEMBERS = 100;
