import {
  CHANGE_FORM,
  type Fact,
  type HubOrigin,
  type Journal,
  type JsonObject,
  type LogEntry,
  type OwnAuthor,
  type OwnEvent,
  REGISTRATION_FORM,
  SCHEMA_CHANGED,
  SCHEMA_ENTITY,
  SCHEMA_PROPOSED,
  SCHEMA_REGISTERED,
} from "../../core/index.ts";
import { authorityAt, type RegistryHub } from "./authority.ts";
import { authorityIn, INDEX, type Known, streamOf } from "./known.ts";

/** Facts that are announced by one call of the log, at most. */
const MAX_AT_ONCE_BYTES = 4 * 1_048_576;

/** What is announced already, as the events say. */
interface Said {
  /** How many versions of each subject. */
  readonly versions: Map<string, number>;
  /** The versions that are hidden. */
  readonly hidden: Map<string, readonly number[]>;
  /** Up to which fact of the index. */
  index: number;
}

const nothing = (): Said => ({ versions: new Map(), hidden: new Map(), index: -1 });

export interface AnnouncerDeps {
  readonly journal: Pick<Journal, "read">;
  readonly known: Pick<Known, "subjects" | "entries">;
  readonly hub: RegistryHub;
  readonly origin: HubOrigin;
}

/**
 * Returns what writes an event of the hub's own for each fact that others must know and that has none yet: the log says which have one, so nothing is said twice, whoever was
 * stopped between a fact and its event.
 *
 *   facts of the log ─▶ those without an event ─▶ the hub's forms first, then in the order of the log ─▶ the hub's origin
 */
export function announcer({ journal, known, hub, origin }: AnnouncerDeps): () => Promise<number> {
  let said = nothing();
  const author: OwnAuthor = {
    restart() {
      said = nothing();
    },
    see: (entry) => takeIn(said, entry),
    async next() {
      // Nobody could read them.
      if (![REGISTRATION_FORM, CHANGE_FORM].every(({ subject }) => known.entries(subject).length > 0)) return [];
      return eventsOf(await missing(journal, known, said), said, hub);
    },
  };
  let turn: Promise<unknown> = Promise.resolve();
  return () => {
    const run = turn.then(() => origin.append(author));
    turn = run.catch(() => {});
    return run;
  };
}

function takeIn(said: Said, { head: { type, entity }, content }: LogEntry): void {
  if (entity.type !== SCHEMA_ENTITY || content.kind !== "accepted") return;
  const { version, fact, hidden } = content.data;
  if (type === SCHEMA_REGISTERED && typeof version === "number")
    said.versions.set(entity.id, Math.max(version, said.versions.get(entity.id) ?? 0));
  if (typeof fact === "number") said.index = Math.max(said.index, fact);
  if (type === SCHEMA_CHANGED && Array.isArray(hidden)) said.hidden.set(entity.id, hidden.filter(isNumber));
}
const isNumber = (value: unknown): value is number => typeof value === "number";

/** The facts that have no event yet, in the order in which they are announced. */
async function missing(
  journal: AnnouncerDeps["journal"],
  known: AnnouncerDeps["known"],
  { versions, index }: Said,
): Promise<readonly Fact[]> {
  const registered: Fact[] = [];
  for (const subject of known.subjects()) {
    const done = versions.get(subject) ?? 0;
    if (known.entries(subject).length > done) registered.push(...(await journal.read(streamOf(subject), done)));
  }
  const settings = (await journal.read(INDEX, index + 1)).filter(isAnnounced);
  // Whoever reads the events needs their own forms before all others.
  const rank = ({ stream }: Fact): number => (FORM_STREAMS.includes(stream) ? 0 : 1);
  return [...registered, ...settings].sort((a, b) => rank(a) - rank(b) || (a.position < b.position ? -1 : 1));
}
const FORM_STREAMS = [REGISTRATION_FORM, CHANGE_FORM].map(({ subject }) => streamOf(subject));

const CHANGES = ["compatibility-set", "mode-set", "normalize-set", "version-deleted", "version-restored"];

/** Whether a fact of the index is told to others: what was set for one subject, and what this hub proposes to another. What devices propose is between them and their hub. */
const isAnnounced = ({ type, data }: Fact): boolean =>
  typeof data.subject === "string" && (CHANGES.includes(type) || (type === "schema-proposed" && typeof data.org === "string"));

/** What is told of facts, all of one stream and from its first: which fact, and the event's type and data. For whoever compares a log's events with its facts. */
export function announcementsOf(facts: readonly Fact[]): readonly Announcement[] {
  const hidden = new Map<string, readonly number[]>();
  return facts
    .filter((fact) => fact.stream !== INDEX || isAnnounced(fact))
    .map((fact) => {
      const { type, data } = fact.stream === INDEX ? settingOf(fact, hidden) : registrationOf(fact, null);
      return { key: announcedBy(type, data), data };
    });
}

export interface Announcement {
  readonly key: string;
  readonly data: JsonObject;
}

/** Names the fact that an event of a hub's registry tells. */
export const announcedBy = (type: string, { subject, version, fact }: JsonObject): string =>
  type === SCHEMA_REGISTERED ? `${String(subject)}@${String(version)}` : `${INDEX}/${String(fact)}`;

function eventsOf(facts: readonly Fact[], said: Said, hub: RegistryHub): OwnEvent[] {
  const hidden = new Map(said.hidden);
  const events: OwnEvent[] = [];
  let bytes = 0;
  for (const fact of facts) {
    const event = fact.stream === INDEX ? settingOf(fact, hidden) : registrationOf(fact, hub);
    bytes += typeof fact.data.text === "string" ? fact.data.text.length : 0;
    if (events.length > 0 && bytes > MAX_AT_ONCE_BYTES) break;
    events.push(event);
  }
  return events;
}

/** A registration as an event. The text is told as it was registered, even where this program cannot use it. */
function registrationOf(fact: Fact, hub: RegistryHub | null): OwnEvent {
  const named = authorityIn(fact);
  const authority = named === undefined && hub !== null ? authorityAt(hub, String(fact.data.subject), fact.position) : named;
  return ownEvent(fact, SCHEMA_REGISTERED, {
    ...textOf(fact.data),
    version: fact.revision + 1,
    ...(authority === undefined ? {} : { authority }),
  });
}

function settingOf(fact: Fact, hidden: Map<string, readonly number[]>): OwnEvent {
  const { type, data, revision } = fact;
  const subject = String(data.subject);
  if (type === "schema-proposed")
    return ownEvent(fact, SCHEMA_PROPOSED, { ...textOf(data), authority: authorityIn(fact) ?? null, fact: revision });
  if (type === "version-deleted" || type === "version-restored") {
    const others = (hidden.get(subject) ?? []).filter((version) => version !== data.version);
    const now = type === "version-deleted" ? [...others, Number(data.version)].sort((a, b) => a - b) : others;
    hidden.set(subject, now);
    return ownEvent(fact, SCHEMA_CHANGED, { subject, hidden: now, fact: revision });
  }
  const { level, mode, normalize } = data;
  const set: JsonObject =
    type === "compatibility-set"
      ? { level: level ?? null }
      : type === "mode-set"
        ? { mode: mode ?? null }
        : { normalize: normalize ?? null };
  return ownEvent(fact, SCHEMA_CHANGED, { subject, ...set, fact: revision });
}

const textOf = ({ subject, version, kind, fingerprint, text, references }: JsonObject): JsonObject => ({
  subject: String(subject),
  version: Number(version),
  kind: kind === "avro" ? "avro" : "json",
  fingerprint: String(fingerprint),
  text: String(text),
  references: references ?? [],
});

const ownEvent = ({ data: { subject }, by, recordedAtMs }: Fact, type: string, data: JsonObject): OwnEvent => ({
  type,
  entity: { type: SCHEMA_ENTITY, id: String(subject) },
  schema: type === SCHEMA_CHANGED ? CHANGE_FORM : REGISTRATION_FORM,
  data,
  actor: typeof by.actor === "string" && by.actor !== "" ? by.actor : "hub",
  atMs: recordedAtMs,
});
