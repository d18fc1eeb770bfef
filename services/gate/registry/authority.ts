import { type HubDeclaration, hubOrgAt, type JsonObject, type Position, TributaryError } from "../../core/index.ts";
import type { Known } from "./known.ts";

/** Whose registry it is. */
export interface RegistryHub {
  readonly org: string;
  /** What the log has said of whose hub it belongs to: a registration of before authorities were noted is of the hub that it belonged to then. */
  readonly declared: readonly HubDeclaration[];
  /** Subjects that come with the program: each hub registers them for itself, and no hub has the say over them. */
  readonly common: readonly string[];
}

/** Who has the say over which subject. */
export interface Authority {
  /** The organisation whose hub has the say; `null`: each hub, or there is no such subject. */
  of(subject: string): string | null;
  /** The same where it is another hub than this one. */
  other(subject: string): string | null;
  /** Who has the say over a subject once it is registered here, as a fact says it. */
  named(subject: string): JsonObject;
  /** Who speaks here, as a fact says it. */
  speaker(): JsonObject;
  /** Throws `not-permitted` where another hub has the say over a subject. */
  refuseOthers(subject: string | null, what: string): void;
}

/** The authority of a registration that does not name it, by where it stands. */
export const authorityAt = ({ org, declared, common }: RegistryHub, subject: string, position: Position): string | null =>
  common.includes(subject) ? null : (hubOrgAt(declared, position) ?? org);

/** `hub`: `null` for a registry that only reads, or does not know whose it is: then nobody has the say over anything. */
export function authorityOver(known: Known, hub: RegistryHub | null): Authority {
  const of = (subject: string): string | null => {
    const [first] = known.entries(subject);
    if (first === undefined) return null;
    if (first.authority !== undefined) return first.authority;
    return hub === null ? null : authorityAt(hub, subject, first.position);
  };
  const other = (subject: string): string | null => {
    const authority = of(subject);
    return hub === null || authority === null || authority === hub.org ? null : authority;
  };
  return {
    of,
    other,
    named(subject): JsonObject {
      if (hub === null) return {};
      const isNew = known.entries(subject).length === 0;
      return { authority: isNew ? (hub.common.includes(subject) ? null : hub.org) : of(subject) };
    },
    speaker: (): JsonObject => (hub === null ? {} : { org: hub.org }),
    refuseOthers(subject, what) {
      const authority = subject === null ? null : other(subject);
      if (authority === null) return;
      throw new TributaryError(
        "not-permitted",
        `${subject} ${what} here: the hub of ${authority} has the say over it`,
        `Ask the people of that hub; a version that is registered here goes to them as a proposal.`,
      );
    },
  };
}
