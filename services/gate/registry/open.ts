import {
  canonicalize,
  type Fact,
  type Journal,
  type JsonObject,
  messageOf,
  type Position,
  sha256,
  TributaryError,
} from "../../core/index.ts";
import { type Casters, NO_CASTERS } from "../casters.ts";
import { DEFAULT_LEVEL, type Finding, isLevel, type Level } from "../compatibility.ts";
import { type Kind, type Reference, type SchemaText, type SchemaVersion, schemaVersion, subjectName } from "../schema.ts";
import type { Question, VersionText } from "./examination.ts";
import { type ExaminerLimits, openExaminer } from "./examiner.ts";

import { MODES, type Mode, type Proposal, type Registered, type Registry } from "./registry.ts";

const SCHEMA_PREFIX = "schema-";
/** Which subjects there are, and what was set for them. */
const INDEX = "registry";
const MAX_RACES = 5;
/** A subject that turned out to have nothing new is not asked for again for so long. */
const REFRESH_PAUSE_MS = 1_000;
/** A subject has at most so many versions: each new one is compared with all. */
const MAX_VERSIONS = 1_000;
/** Proposals that may wait; a device's further ones are not noted until some are dealt with. */
const MAX_PROPOSALS = 500;

const stream = (subject: string): string => SCHEMA_PREFIX + subject;

/** A look at the log after a lost link, where that fails, is tried again after this. */
const REVIEW_PAUSE_MS = 1_000;

/**
 * The schema registry, over the log: stream `schema-<subject>`, whose revision is the version less one, so that two who register at once get
 * two versions or one refusal, never one version twice. The cache follows the log; what it holds of a version never changes.
 */
export async function openRegistry(
  journal: Journal,
  options: {
    readonly casters?: Casters;
    readonly now?: () => number;
    readonly onInterruption?: (message: string) => void;
    readonly onBroken?: (what: string) => void;
    readonly examinerLimits?: ExaminerLimits;
  } = {},
): Promise<Registry> {
  const { casters = NO_CASTERS, now = Date.now, onBroken = () => {} } = options;
  const bySubject = new Map<string, Entry[]>();
  /** The same without what the registry knows besides: what a gate looks up for each event. */
  const schemas = new Map<string, readonly SchemaVersion[]>();
  const deleted = new Set<string>();
  const levels = new Map<string | null, Level>();
  const modes = new Map<string | null, Mode>();
  const listeners = new Set<(subject: string) => void>();
  const asked = new Map<string, number>();
  let ids: Map<string, number> | null = null;
  let names: readonly string[] | null = null;
  const stop = new AbortController();
  const examiner = openExaminer(options.examinerLimits);

  interface Entry {
    readonly schema: SchemaVersion;
    readonly text: string;
    readonly actor: string;
    readonly registeredAtMs: number;
    readonly position: Position;
  }

  const lookUp = ({ subject, version }: Reference): SchemaVersion | undefined => bySubject.get(subject)?.[version - 1]?.schema;

  const apply = (fact: Fact): void => {
    if (fact.stream === INDEX) applyIndex(fact);
    else applySchema(fact);
  };
  const proposed = new Map<string, Proposal>();
  const proposalKey = (subject: unknown, version: unknown, fingerprint: unknown): string =>
    `${String(subject)}@${String(version)}:${String(fingerprint)}`;
  /** Grows with each fact of the index, so that whoever reads all of it sees what came meanwhile. */
  let indexFacts = 0;
  const applyIndex = ({ type, data, by, recordedAtMs }: Fact): void => {
    indexFacts++;
    const subject = typeof data.subject === "string" ? data.subject : null;
    const set = <T>(map: Map<string | null, T>, value: T | null): void => {
      if (value === null) map.delete(subject);
      else map.set(subject, value);
    };
    if (type === "compatibility-set") set(levels, isLevel(data.level) ? data.level : null);
    else if (type === "mode-set") set(modes, MODES.find((mode) => mode === data.mode) ?? null);
    else if (type === "version-deleted") deleted.add(`${subject}@${String(data.version)}`);
    else if (type === "schema-proposed") {
      const proposal = { ...(data as unknown as Proposal), by: String(by.actor ?? ""), proposedAtMs: recordedAtMs };
      proposed.set(proposalKey(subject, data.version, data.fingerprint), proposal);
    } else if (type === "proposal-dismissed") proposed.delete(proposalKey(subject, data.version, data.fingerprint));
    else if (type === "version-restored") deleted.delete(`${subject}@${String(data.version)}`);
    if (subject !== null) for (const listener of listeners) listener(subject);
  };
  const applySchema = (fact: Fact): void => {
    const subject = fact.stream.slice(SCHEMA_PREFIX.length);
    const known = bySubject.get(subject) ?? [];
    // The log was set back, and goes on otherwise: what was known from here on is in it no more.
    const isOther = fact.revision < known.length && known[fact.revision]!.position !== fact.position;
    const versions = isOther ? known.slice(0, fact.revision) : known;
    if (fact.revision !== versions.length || fact.type !== "schema-registered") return;
    if (isOther) schemas.set(subject, schemas.get(subject)!.slice(0, fact.revision));
    const { kind, text, references } = fact.data as { kind?: Kind; text?: string; references?: Reference[] };
    let schema: SchemaVersion;
    try {
      schema = schemaVersion(
        subject,
        fact.revision + 1,
        { kind: kind === "avro" ? "avro" : "json", text: String(text), references: references ?? [] },
        lookUp,
        { trusted: true },
      );
    } catch (error) {
      // Registered by a newer program: it keeps its number, takes no data here, and is told.
      onBroken(`${subject} version ${fact.revision + 1} cannot be used here: ${messageOf(error)}`);
      schema = schemaVersion(subject, fact.revision + 1, { kind: "json", text: "false", references: [] }, lookUp);
    }
    bySubject.set(subject, [
      ...versions,
      {
        schema,
        text: String(text),
        actor: String(fact.by.actor ?? ""),
        registeredAtMs: fact.recordedAtMs,
        position: fact.position,
      },
    ]);
    schemas.set(subject, [...(schemas.get(subject) ?? NONE), schema]);
    ids = null;
    names = null;
    for (const listener of listeners) listener(subject);
  };

  const load = async (subject: string): Promise<void> => {
    for (const fact of await journal.read(stream(subject), bySubject.get(subject)?.length ?? 0)) applySchema(fact);
  };

  const reviewIndex = async (): Promise<void> => {
    let [before, there] = [indexFacts, await journal.read(INDEX)];
    // What came meanwhile is perhaps not among what was read.
    while (before !== indexFacts) [before, there] = [indexFacts, await journal.read(INDEX)];
    const named = [...bySubject.keys(), ...levels.keys(), ...modes.keys(), ...[...proposed.values()].map((each) => each.subject)];
    for (const known of [levels, modes, deleted, proposed]) known.clear();
    for (const fact of there) applyIndex(fact);
    // What the log has no more is no fact that anybody was told of.
    for (const subject of new Set(named)) if (subject !== null) for (const listener of listeners) listener(subject);
  };
  /**
   * The link was lost and is there again, maybe to a log that was set back. What the log has no more is forgotten: versions, so that they can be registered again;
   * levels, modes, hidden versions and proposals, so that this process goes by what any other reads there.
   */
  const review = async (): Promise<void> => {
    await reviewIndex();
    for (const [subject, known] of [...bySubject]) {
      const there = await journal.read(stream(subject));
      const lost = known.findIndex(({ position }, i) => there[i]?.position !== position);
      // What was registered meanwhile is known already, or follows.
      if (lost >= 0 && bySubject.get(subject) === known) {
        if (lost === 0) {
          bySubject.delete(subject);
          schemas.delete(subject);
        } else {
          bySubject.set(subject, known.slice(0, lost));
          schemas.set(subject, schemas.get(subject)!.slice(0, lost));
        }
        ids = null;
        names = null;
        for (const listener of listeners) listener(subject);
      }
      for (const fact of there) applySchema(fact);
    }
  };
  const reviewed = (): void => {
    if (stop.signal.aborted) return;
    review().catch((error: unknown) => {
      options.onInterruption?.(messageOf(error));
      setTimeout(reviewed, REVIEW_PAUSE_MS).unref();
    });
  };

  const idOf = (entry: Entry): number => {
    if (ids === null) {
      const all = [...bySubject.values()].flat().sort((a, b) => (a.position < b.position ? -1 : 1));
      ids = new Map();
      for (const each of all) if (!ids.has(contentOf(each))) ids.set(contentOf(each), ids.size + 1);
    }
    return ids.get(contentOf(entry))!;
  };
  const registeredOf = (entry: Entry): Registered => ({
    schema: entry.schema,
    id: idOf(entry),
    actor: entry.actor,
    registeredAtMs: entry.registeredAtMs,
    position: entry.position,
    deleted: deleted.has(`${entry.schema.subject}@${entry.schema.version}`),
  });

  // The position first: what is written while the streams are read is followed from here.
  const after = await journal.end();
  const index = await journal.read(INDEX);
  const subjects = new Set<string>();
  for (const { type, data } of index)
    if (type === "subject-added" && typeof data.subject === "string") subjects.add(data.subject);
  // A schema may refer to one of another subject: all facts in log order.
  const facts = (await Promise.all([...subjects].map((subject) => journal.read(stream(subject))))).flat();
  for (const fact of [...index, ...facts].sort((a, b) => (a.position < b.position ? -1 : 1))) apply(fact);
  journal.follow({
    prefixes: [SCHEMA_PREFIX, INDEX],
    after,
    signal: stop.signal,
    onFact: (fact) => {
      // Facts may come again, in their order: applied again they say the same.
      if (fact.stream === INDEX || fact.stream.startsWith(SCHEMA_PREFIX)) apply(fact);
    },
    onResumed: reviewed,
    ...(options.onInterruption === undefined ? {} : { onInterruption: options.onInterruption }),
  });

  const level = (subject: string | null): Level =>
    (subject === null ? undefined : levels.get(subject)) ?? levels.get(null) ?? DEFAULT_LEVEL;
  const mode = (subject: string | null): Mode =>
    (subject === null ? undefined : modes.get(subject)) ?? modes.get(null) ?? "READWRITE";
  /** What a subject would be with this text next, as far as its form goes: quick, whatever a stranger sends. */
  const draft = (subject: string, given: SchemaText): SchemaVersion =>
    schemaVersion(subject, (bySubject.get(subject)?.length ?? 0) + 1, given, lookUp, { uncompiled: true });
  const live = (subject: string): Entry[] =>
    (bySubject.get(subject) ?? []).filter(({ schema }) => !deleted.has(`${subject}@${schema.version}`));
  const sameAs = (candidate: SchemaText): ((entry: Entry) => boolean) => {
    const key = contentKey(candidate);
    return (entry) => contentOf(entry) === key;
  };

  const examined = async (
    candidate: SchemaVersion,
    earlier: readonly SchemaVersion[],
    asked: { readonly level: Level; readonly examines: boolean; readonly actor: string },
  ): Promise<readonly Finding[]> => {
    const { actor, ...rest } = asked;
    const question: Question = {
      ...rest,
      candidate: textOf(candidate),
      earlier: earlier.map(textOf),
      referred: referredBy([candidate, ...earlier], lookUp),
      castersDir: casters.dir,
    };
    const answer = await examiner.ask(question, actor);
    if (answer.kind === "refused") throw new TributaryError("schema-malformed", answer.message, answer.hint);
    return answer.findings;
  };

  const set = async (fact: { type: string; data: JsonObject }, actor: string): Promise<void> => {
    await journal.append(INDEX, "any", { ...fact, by: { actor } });
    applyIndex({ ...fact, stream: INDEX, revision: -1, by: { actor }, position: 0n as Position, recordedAtMs: now() });
  };

  const registry: Registry = {
    subjects() {
      names ??= [...bySubject.keys()].sort();
      return names;
    },
    versions: (subject) => schemas.get(subject) ?? NONE,

    async register(subject, given, { actor, version }) {
      subjectName(subject);
      for (let races = 0; races <= MAX_RACES; races++) {
        await load(subject);
        const earlier = bySubject.get(subject) ?? [];
        const candidate = draft(subject, given);
        const same = live(subject).find(sameAs(candidate));
        if (same !== undefined && (version === undefined || same.schema.version === version))
          return { kind: "registered", version: registeredOf(same), isNew: false };
        if (version !== undefined && version !== candidate.version) {
          throw new TributaryError(
            "schema-conflict",
            version < candidate.version
              ? `${subject} version ${version} is registered, and says something else`
              : `${subject} has ${earlier.length} versions here, so the next is ${candidate.version}, not ${version}`,
            version < candidate.version
              ? "A registered version never changes: make it the next one."
              : "Register the versions between first.",
          );
        }
        if (mode(subject) === "READONLY")
          throw new TributaryError(
            "schema-readonly",
            `${subject} takes no new versions`,
            "`tributary schema mode READWRITE` opens it again.",
          );
        if (candidate.version > MAX_VERSIONS)
          throw new TributaryError(
            "schema-conflict",
            `${subject} has ${MAX_VERSIONS} versions, and takes no more`,
            "Begin a new subject.",
          );
        const taken = takenEvent(candidate);
        if (taken !== null)
          throw new TributaryError(
            "schema-conflict",
            taken,
            "An event type belongs to one subject: choose another type, or extend that subject.",
          );
        const findings = await examined(
          candidate,
          live(subject).map(({ schema }) => schema),
          { level: level(subject), examines: true, actor },
        );
        if (findings.length > 0) return { kind: "incompatible", findings, level: level(subject) };
        if (earlier.length === 0) await journal.append(INDEX, "any", { type: "subject-added", data: { subject }, by: { actor } });
        const data: JsonObject = {
          subject,
          version: candidate.version,
          kind: given.kind,
          fingerprint: candidate.fingerprint,
          text: given.text,
          references: given.references as unknown as JsonObject[],
        };
        const written = await journal.append(stream(subject), earlier.length - 1, {
          type: "schema-registered",
          data,
          by: { actor },
        });
        if (written === null) continue;
        await load(subject);
        const entry = bySubject.get(subject)![candidate.version - 1]!;
        return { kind: "registered", version: registeredOf(entry), isNew: true };
      }
      throw new TributaryError("backend-failed", `others keep registering ${subject}`, "Try again.");
    },

    async check(subject, given, { level: asked, against, actor = "" } = {}) {
      const candidate = draft(subject, given);
      const earlier = live(subject).map(({ schema }) => schema);
      const chosen = against === undefined ? earlier : earlier.filter(({ version }) => against.includes(version));
      const use = asked ?? level(subject);
      // A check against named versions is against each of them.
      return examined(candidate, chosen, { level: against === undefined ? use : transitive(use), examines: false, actor });
    },

    find(subject, given) {
      const found = live(subject).find(sameAs(draft(subject, given)));
      return found && registeredOf(found);
    },
    registered: (subject, { withDeleted = false } = {}) =>
      (withDeleted ? (bySubject.get(subject) ?? []) : live(subject)).map(registeredOf),
    byId: (id) =>
      [...bySubject.values()]
        .flat()
        .filter((entry) => idOf(entry) === id)
        .map(registeredOf),
    level,
    ownLevel: (subject) => levels.get(subject) ?? null,
    setLevel: (subject, value, actor) => set({ type: "compatibility-set", data: { subject, level: value } }, actor),
    mode,
    ownMode: (subject) => modes.get(subject) ?? null,
    setMode: (subject, value, actor) => set({ type: "mode-set", data: { subject, mode: value } }, actor),
    setDeleted: (subject, version, isDeleted, actor) =>
      set({ type: isDeleted ? "version-deleted" : "version-restored", data: { subject, version } }, actor),

    async propose(subject, version, given, actor) {
      let made: SchemaVersion;
      try {
        // Examined, not compiled: whoever has a site's token may send one, and compiling a large one takes a while.
        made = schemaVersion(subject, version, given, lookUp, { uncompiled: true });
      } catch {
        return false;
      }
      const { fingerprint } = made;
      if ((bySubject.get(subject) ?? []).some(({ schema }) => schema.fingerprint === fingerprint)) return true;
      if (proposed.has(proposalKey(subject, version, fingerprint))) return true;
      if (proposed.size >= MAX_PROPOSALS) return false;
      const data: JsonObject = {
        subject,
        version,
        fingerprint,
        kind: given.kind,
        text: given.text,
        references: given.references as unknown as JsonObject[],
      };
      await set({ type: "schema-proposed", data }, actor);
      return true;
    },
    proposals: () =>
      [...proposed.values()].filter(
        ({ subject, fingerprint }) => !(bySubject.get(subject) ?? []).some(({ schema }) => schema.fingerprint === fingerprint),
      ),
    dismiss: (subject, version, fingerprint, actor) =>
      set({ type: "proposal-dismissed", data: { subject, version, fingerprint } }, actor),

    async refresh(subject) {
      const last = asked.get(subject);
      if (last !== undefined && now() - last < REFRESH_PAUSE_MS) return;
      if (asked.size > 10_000) asked.clear();
      asked.set(subject, now());
      await load(subject);
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      stop.abort();
      examiner.close();
    },
  };
  return registry;

  function takenEvent(candidate: SchemaVersion): string | null {
    for (const [subject, entries] of bySubject) {
      if (subject === candidate.subject) continue;
      const events = entries.at(-1)!.schema.annotations.events;
      const both = candidate.annotations.events.find((event) => events.includes(event));
      if (both !== undefined) return `events of type ${both} are ${subject}'s already`;
    }
    return null;
  }
}

const textOf = ({ subject, version, kind, text, references }: SchemaVersion): VersionText => ({
  subject,
  version,
  kind,
  text,
  references,
});

/** All that schemas refer to, directly or not, each after what it refers to itself. */
function referredBy(
  schemas: readonly SchemaVersion[],
  lookUp: (reference: Reference) => SchemaVersion | undefined,
): VersionText[] {
  const out = new Map<string, VersionText>();
  const visit = ({ references }: SchemaVersion): void => {
    for (const reference of references) {
      const key = `${reference.subject}@${reference.version}`;
      const found = out.has(key) ? undefined : lookUp(reference);
      if (found === undefined) continue;
      visit(found);
      out.set(key, textOf(found));
    }
  };
  for (const schema of schemas) visit(schema);
  return [...out.values()];
}

const NONE: readonly SchemaVersion[] = [];

/** What makes two schemas the same one: all they say, annotations and defaults included, but not how the text is laid out. */
const contentKey = ({ text, kind, references }: SchemaText): string => {
  let said: string;
  try {
    said = canonicalize(JSON.parse(text));
  } catch {
    said = text;
  }
  return sha256(`${kind}\n${said}\n${canonicalize(references)}`);
};
const contents = new WeakMap<object, string>();
function contentOf(entry: { readonly schema: SchemaVersion; readonly text: string }): string {
  let key = contents.get(entry);
  if (key === undefined) {
    key = contentKey({ ...entry.schema, text: entry.text });
    contents.set(entry, key);
  }
  return key;
}

const transitive = (level: Level): Level =>
  level === "NONE" || level.endsWith("_TRANSITIVE") ? level : (`${level}_TRANSITIVE` as Level);
