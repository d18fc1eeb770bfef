import { maySee, TributaryError } from "../../core/index.ts";
import { isLevel, type Kind, LEVELS, type Proposal, type Reference, type Registered, subjectName } from "../../gate/index.ts";
import type { Principal } from "../../http/index.ts";
import { type Answers, type ApiHub, type Asking, given } from "./hub.ts";

interface GivenSchema {
  readonly subject: string;
  readonly kind: Kind;
  readonly text: string;
  readonly references?: readonly Reference[] | null;
}

const versionOf = ({ schema, id, guid, actor, registeredAtMs, position, deleted }: Registered) => ({
  ...{ id, guid, actor, deleted },
  version: schema.version,
  kind: schema.kind,
  text: schema.text,
  references: schema.references,
  fingerprint: schema.fingerprint,
  registeredAt: new Date(registeredAtMs).toISOString(),
  position: position.toString(),
});

function subjectOf({ registry }: ApiHub, name: string) {
  const all = registry.registered(name, { withDeleted: true });
  const annotations = all.at(-1)?.schema.annotations;
  return {
    name,
    entity: annotations?.entity ?? null,
    events: annotations?.events ?? [],
    title: annotations?.title ?? null,
    level: registry.level(name),
    mode: registry.mode(name),
    authority: registry.authority(name),
    versions: all.map(versionOf),
  };
}

const proposalOf = ({ subject, version, kind, text, fingerprint, by, proposedAtMs, org }: Proposal) => ({
  ...{ subject, version, kind, text, fingerprint, by, org: org ?? null },
  proposedAt: new Date(proposedAtMs).toISOString(),
});

/** A proposal names who wrote by it: it is shown to their organisation, and to those who may register it. */
const isShown = ({ by, org }: Proposal, { viewer, rights }: Principal): boolean =>
  rights.includes("schemas:write") || maySee(viewer, org ?? by.slice(0, Math.max(0, by.indexOf("."))));

function levelOf(level: string | null | undefined) {
  if (level === null || level === undefined) return undefined;
  if (isLevel(level)) return level;
  throw new TributaryError("usage", `there is no level ${level}`, `The levels are ${LEVELS.join(", ")}.`);
}

export const schemaAnswers = {
  subjects: ({ prefix }: { readonly prefix?: string | null }, { hub }: Asking) =>
    hub.registry
      .subjects()
      .filter((name) => name.startsWith(prefix ?? ""))
      .map((name) => subjectOf(hub, name)),
  subject: ({ name }: { readonly name: string }, { hub }: Asking) =>
    hub.registry.subjects().includes(name) ? subjectOf(hub, name) : null,
  proposals: (_: object, { hub, principal }: Asking) =>
    hub.registry
      .proposals()
      .filter((proposal) => isShown(proposal, principal))
      .map(proposalOf),
  checkSchema: (
    { subject, kind, text, references, level }: GivenSchema & { readonly level?: string | null },
    { hub, principal }: Asking,
  ) =>
    hub.registry.check(
      subjectName(subject),
      { kind, text, references: references ?? [] },
      { ...given({ level: levelOf(level) }), actor: principal.subject },
    ),
} satisfies Answers;

export const schemaDecisions = {
  async registerSchema({ subject, kind, text, references }: GivenSchema, { hub, principal }: Asking) {
    const outcome = await hub.registry.register(
      subjectName(subject),
      { kind, text, references: references ?? [] },
      { actor: principal.subject },
    );
    return {
      outcome: outcome.kind,
      version: outcome.kind === "registered" ? versionOf(outcome.version) : null,
      isNew: outcome.kind === "registered" && outcome.isNew,
      authority: outcome.kind === "proposed" ? outcome.authority : null,
      findings: outcome.kind === "incompatible" ? outcome.findings : [],
    };
  },
} satisfies Answers;
