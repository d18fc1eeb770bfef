import { type Journal, type JsonObject, TributaryError } from "../../core/index.ts";
import type { Finding, Level } from "../compatibility.ts";
import { type SchemaText, type SchemaVersion, subjectName } from "../schema.ts";
import type { Authority } from "./authority.ts";
import { contentKey, contentOf, normalContentOf, normalised } from "./content.ts";
import { type Entry, INDEX, type Known, proposalKey, streamOf } from "./known.ts";
import type { RegisterOptions, Registration } from "./registry.ts";

const MAX_RACES = 5;
/** A subject has at most so many versions: each new one is compared with all. */
const MAX_VERSIONS = 1_000;

/** What registering needs of the registry around it. */
export interface Desk {
  readonly journal: Journal;
  readonly known: Known;
  readonly authority: Authority;
  /** Takes in what others have registered for a subject. */
  load(subject: string): Promise<void>;
  /** What a subject would be with this text next, as far as its form goes: quick, whatever a stranger sends. */
  draft(subject: string, given: SchemaText): SchemaVersion;
  /** Compares a draft with earlier versions, and may examine it by itself. Throws `schema-malformed`. */
  examined(
    candidate: SchemaVersion,
    earlier: readonly SchemaVersion[],
    asked: { readonly level: Level; readonly examines: boolean; readonly actor: string },
  ): Promise<readonly Finding[]>;
}

/** Whether an entry is this very schema; with `normalize`, whether it differs in its layout only. */
export const sameAs = (candidate: SchemaText, normalize = false): ((entry: Entry) => boolean) => {
  const key = contentKey(normalize ? normalised(candidate) : candidate);
  return (entry) => (normalize ? normalContentOf(entry) : contentOf(entry)) === key;
};

/** Throws `schema-readonly` for a subject that is closed; `null`: for all of them. */
export function refuseReadonly(known: Known, subject: string | null, what: string): void {
  if (known.mode(subject) === "READONLY")
    throw new TributaryError(
      "schema-readonly",
      `${subject ?? "the registry"} ${what}`,
      "`tributary schema mode READWRITE` opens it again.",
    );
}

/** Registers a text as the subject's next version. Whoever loses a race looks again: the other may have registered the same. */
export async function register(
  desk: Desk,
  subject: string,
  asked: SchemaText,
  { actor, version, normalize = false }: RegisterOptions,
): Promise<Registration> {
  const { journal, known, authority } = desk;
  subjectName(subject);
  for (let races = 0; races <= MAX_RACES; races++) {
    await desk.load(subject);
    // Whoever sends what is not a schema is told about the text as it was sent.
    const sent = desk.draft(subject, asked);
    const given = normalize ? normalised(asked) : asked;
    const candidate = normalize ? desk.draft(subject, given) : sent;
    const same = known.live(subject).find(sameAs(candidate, normalize));
    if (same !== undefined && (version === undefined || same.schema.version === version))
      return { kind: "registered", version: known.registeredOf(same), isNew: false };
    refuse(known, candidate, version);
    const earlier = known.entries(subject).length;
    const live = known.live(subject).map(({ schema }) => schema);
    const findings = await desk.examined(candidate, live, { level: known.level(subject), examines: true, actor });
    if (findings.length > 0) return { kind: "incompatible", findings, level: known.level(subject) };
    const other = authority.other(subject);
    if (other !== null) {
      await propose(desk, candidate, given, actor);
      return { kind: "proposed", authority: other };
    }
    if (earlier === 0) await journal.append(INDEX, "any", { type: "subject-added", data: { subject }, by: { actor } });
    const fact = { type: "schema-registered", data: { ...factOf(candidate, given), ...authority.named(subject) }, by: { actor } };
    const written = await journal.append(streamOf(subject), earlier - 1, fact);
    if (written === null) continue;
    await desk.load(subject);
    const entry = known.entries(subject)[candidate.version - 1];
    if (entry !== undefined) return { kind: "registered", version: known.registeredOf(entry), isNew: true };
  }
  throw new TributaryError("backend-failed", `others keep registering ${subject}`, "Try again.");
}

/** At most so many proposals wait; further ones are not noted until some are dealt with. */
export const MAX_PROPOSALS = 500;

/** Notes what this hub would like another hub to register. Once for each text. */
async function propose(
  { journal, known, authority }: Desk,
  made: SchemaVersion,
  given: SchemaText,
  actor: string,
): Promise<void> {
  const { subject, version, fingerprint } = made;
  if (known.proposed.has(proposalKey(subject, version, fingerprint))) return;
  if (known.proposed.size >= MAX_PROPOSALS)
    throw new TributaryError(
      "schema-conflict",
      `${MAX_PROPOSALS} proposals wait already`,
      "Deal with some of them: `tributary schema proposals`.",
    );
  const data = { ...factOf(made, given), ...authority.named(subject), ...authority.speaker() };
  const fact = { type: "schema-proposed", data, by: { actor } };
  await journal.append(INDEX, "any", fact);
  known.applyIndex({ ...fact, recordedAtMs: Date.now() });
}

/** A version, or a proposal, as the log keeps it. */
export const factOf = ({ subject, version, fingerprint }: SchemaVersion, { kind, text, references }: SchemaText): JsonObject => ({
  subject,
  version,
  kind,
  fingerprint,
  text,
  references: references.map((each) => ({ ...each })),
});

/** Throws for what no change of the text mends: the number asked for is another, the subject is closed, an event is another's. */
function refuse(known: Known, candidate: SchemaVersion, version: number | undefined): void {
  const { subject } = candidate;
  if (version !== undefined && version !== candidate.version) {
    throw new TributaryError(
      "schema-conflict",
      version < candidate.version
        ? `${subject} version ${version} is registered, and says something else`
        : `${subject} has ${known.entries(subject).length} versions here, so the next is ${candidate.version}, not ${version}`,
      version < candidate.version
        ? "A registered version never changes: make it the next one."
        : "Register the versions between first.",
    );
  }
  refuseReadonly(known, subject, "takes no new versions");
  if (candidate.version > MAX_VERSIONS)
    throw new TributaryError(
      "schema-conflict",
      `${subject} has ${MAX_VERSIONS} versions, and takes no more`,
      "Begin a new subject.",
    );
  const taken = takenEvent(known, candidate);
  if (taken !== null)
    throw new TributaryError(
      "schema-conflict",
      taken,
      "An event type belongs to one subject: choose another type, or extend that subject.",
    );
}

function takenEvent(known: Known, candidate: SchemaVersion): string | null {
  for (const [subject, entries] of known.all()) {
    if (subject === candidate.subject) continue;
    const events = entries.at(-1)?.schema.annotations.events ?? [];
    const both = candidate.annotations.events.find((event) => events.includes(event));
    if (both !== undefined) return `events of type ${both} belong to ${subject} already`;
  }
  return null;
}
