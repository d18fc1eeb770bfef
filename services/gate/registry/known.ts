import { type Fact, messageOf, type Position } from "../../core/index.ts";
import { DEFAULT_LEVEL, isLevel, type Level } from "../compatibility.ts";
import { type Kind, type Reference, type SchemaVersion, schemaVersion } from "../schema.ts";
import { contentOf, guidOf } from "./content.ts";
import { MODES, type Mode, type Proposal, type Registered } from "./registry.ts";

/** What the registry holds, as the log's facts tell it. In come facts, in their order and maybe again; never an answer that the log does not give. */

export const SCHEMA_PREFIX = "schema-";
/** Which subjects there are, and what was set for them. */
export const INDEX = "registry";
export const streamOf = (subject: string): string => SCHEMA_PREFIX + subject;

export interface Entry {
  readonly schema: SchemaVersion;
  readonly text: string;
  readonly actor: string;
  readonly registeredAtMs: number;
  readonly position: Position;
  /** The organisation whose hub has the say over the subject, as the fact names it; `undefined`: the fact is of before that was said. */
  readonly authority: string | null | undefined;
}

const NONE: readonly SchemaVersion[] = [];

export type Known = ReturnType<typeof openKnown>;

export function openKnown(onBroken: (what: string) => void) {
  const settings = openSettings();
  const versions = openVersions(onBroken);
  const listeners = new Set<(subject: string) => void>();
  const tell = (subject: string | null): void => {
    if (subject !== null) for (const listener of listeners) listener(subject);
  };
  const isDeleted = ({ schema: { subject, version } }: Entry): boolean => settings.deleted.has(`${subject}@${version}`);
  return {
    ...settings,
    ...versions,
    listeners,
    tell,
    applyIndex: (fact: Omit<Fact, "position" | "stream" | "revision">): void => tell(settings.applyIndex(fact)),
    applySchema: (fact: Fact): void => tell(versions.applySchema(fact)),
    /** The versions of a subject that are not hidden. */
    live: (subject: string): Entry[] => versions.entries(subject).filter((entry) => !isDeleted(entry)),
    registeredOf: (entry: Entry): Registered => ({
      schema: entry.schema,
      id: versions.idOf(entry),
      guid: guidOf(contentOf(entry)),
      actor: entry.actor,
      registeredAtMs: entry.registeredAtMs,
      position: entry.position,
      deleted: isDeleted(entry),
    }),
  };
}

export const proposalKey = (subject: unknown, version: unknown, fingerprint: unknown): string =>
  `${String(subject)}@${String(version)}:${String(fingerprint)}`;

/** What was set for subjects, and what is proposed: the stream that is the registry's index. */
function openSettings() {
  const deleted = new Set<string>();
  const levels = new Map<string | null, Level>();
  const modes = new Map<string | null, Mode>();
  const normalizing = new Map<string | null, boolean>();
  const proposed = new Map<string, Proposal>();
  let facts = 0;
  return {
    deleted,
    levels,
    modes,
    normalizing,
    proposed,
    /** Grows with each fact of the index, so that whoever reads all of it sees what came meanwhile. */
    indexFacts: () => facts,
    /** Forgets all of it; returns the subjects that it named. */
    clearIndex(): (string | null)[] {
      const set = [levels, modes, normalizing].flatMap((each) => [...each.keys()]);
      const named = [...set, ...[...proposed.values()].map(({ subject }) => subject)];
      for (const known of [levels, modes, normalizing, deleted, proposed]) known.clear();
      return named;
    },
    level: (subject: string | null): Level =>
      (subject === null ? undefined : levels.get(subject)) ?? levels.get(null) ?? DEFAULT_LEVEL,
    mode: (subject: string | null): Mode => (subject === null ? undefined : modes.get(subject)) ?? modes.get(null) ?? "READWRITE",
    normalizes: (subject: string | null): boolean =>
      (subject === null ? undefined : normalizing.get(subject)) ?? normalizing.get(null) ?? false,
    /** Returns the subject that the fact is about. */
    applyIndex({ type, data, by, recordedAtMs }: Omit<Fact, "position" | "stream" | "revision">): string | null {
      facts++;
      const subject = typeof data.subject === "string" ? data.subject : null;
      const set = <T>(map: Map<string | null, T>, value: T | null): void => {
        if (value === null) map.delete(subject);
        else map.set(subject, value);
      };
      const version = `${subject}@${String(data.version)}`;
      const key = proposalKey(subject, data.version, data.fingerprint);
      if (type === "compatibility-set") set(levels, isLevel(data.level) ? data.level : null);
      else if (type === "mode-set") set(modes, MODES.find((mode) => mode === data.mode) ?? null);
      else if (type === "normalize-set") set(normalizing, typeof data.normalize === "boolean" ? data.normalize : null);
      else if (type === "version-deleted") deleted.add(version);
      else if (type === "version-restored") deleted.delete(version);
      else if (type === "schema-proposed")
        proposed.set(key, { ...(data as unknown as Proposal), by: String(by.actor ?? ""), proposedAtMs: recordedAtMs });
      else if (type === "proposal-dismissed") proposed.delete(key);
      return subject;
    },
  };
}

/** The registered versions: a stream for each subject. */
function openVersions(onBroken: (what: string) => void) {
  const bySubject = new Map<string, readonly Entry[]>();
  /** The same without what the registry knows besides: what a gate looks up for each event. */
  const schemas = new Map<string, readonly SchemaVersion[]>();
  let ids: Map<string, number> | null = null;
  let names: readonly string[] | null = null;

  const keep = (subject: string, entries: readonly Entry[]): void => {
    if (entries.length === 0) {
      bySubject.delete(subject);
      schemas.delete(subject);
    } else {
      bySubject.set(subject, entries);
      schemas.set(
        subject,
        entries.map(({ schema }) => schema),
      );
    }
    ids = null;
    names = null;
  };
  const entries = (subject: string): readonly Entry[] => bySubject.get(subject) ?? [];
  const lookUp = ({ subject, version }: Reference): SchemaVersion | undefined => schemas.get(subject)?.[version - 1];
  const idsNow = (): Map<string, number> => {
    ids ??= numbered([...bySubject.values()].flat());
    return ids;
  };
  const idOf = (entry: Entry): number => idsNow().get(contentOf(entry)) ?? 0;

  return {
    entries,
    lookUp,
    idOf,
    maxId: (): number => idsNow().size,
    keep,
    all: (): ReadonlyMap<string, readonly Entry[]> => bySubject,
    versions: (subject: string): readonly SchemaVersion[] => schemas.get(subject) ?? NONE,
    subjects(): readonly string[] {
      names ??= [...bySubject.keys()].sort();
      return names;
    },
    /** Returns the subject, where the fact says something new of it. */
    applySchema(fact: Fact): string | null {
      const subject = fact.stream.slice(SCHEMA_PREFIX.length);
      const known = entries(subject);
      // The log was set back, and goes on otherwise: what was known from here on is in it no more.
      const isOther = known[fact.revision] !== undefined && known[fact.revision]?.position !== fact.position;
      const before = isOther ? known.slice(0, fact.revision) : known;
      if (fact.revision !== before.length || fact.type !== "schema-registered") return null;
      keep(subject, [...before, entryOf(subject, fact, lookUp, onBroken)]);
      return subject;
    },
  };
}

/** A number for each distinct text, in the order in which they came. */
function numbered(entries: readonly Entry[]): Map<string, number> {
  const ids = new Map<string, number>();
  for (const entry of entries.toSorted((a, b) => (a.position < b.position ? -1 : 1)))
    if (!ids.has(contentOf(entry))) ids.set(contentOf(entry), ids.size + 1);
  return ids;
}

type LookUp = (reference: Reference) => SchemaVersion | undefined;

function entryOf(subject: string, fact: Fact, lookUp: LookUp, onBroken: (what: string) => void): Entry {
  const { kind, text, references } = fact.data as { kind?: Kind; text?: string; references?: Reference[] };
  const version = fact.revision + 1;
  const given = { kind: kind === "avro" ? "avro" : "json", text: String(text), references: references ?? [] } as const;
  let schema: SchemaVersion;
  try {
    schema = schemaVersion(subject, version, given, lookUp, { trusted: true });
  } catch (error) {
    // Registered by a newer program: it keeps its number, takes no data here, and is told.
    onBroken(`${subject} version ${version} cannot be used here: ${messageOf(error)}`);
    schema = schemaVersion(subject, version, { kind: "json", text: "false", references: [] }, lookUp);
  }
  return {
    schema,
    text: String(text),
    actor: String(fact.by.actor ?? ""),
    registeredAtMs: fact.recordedAtMs,
    position: fact.position,
    authority: authorityIn(fact),
  };
}

/** The authority that a fact names; `undefined`: none, which is not the same as nobody's. */
export const authorityIn = ({ data: { authority } }: Pick<Fact, "data">): string | null | undefined =>
  authority === null || typeof authority === "string" ? authority : undefined;
