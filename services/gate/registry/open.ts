import { type HubOrigin, type Journal, type JsonObject, messageOf, TributaryError } from "../../core/index.ts";
import { type Casters, NO_CASTERS } from "../casters.ts";
import type { Level } from "../compatibility.ts";
import { type SchemaVersion, schemaVersion } from "../schema.ts";
import { announcer } from "./announcer.ts";
import { type Authority, authorityOver, type RegistryHub } from "./authority.ts";
import { type ExaminerLimits, openExaminer } from "./examiner.ts";
import { followLog } from "./follow.ts";
import { INDEX, type Known, openKnown, proposalKey, streamOf } from "./known.ts";
import { referredBy, textOf } from "./questions.ts";
import { type Desk, factOf, MAX_PROPOSALS, refuseReadonly, register, sameAs } from "./register.ts";
import type { Registry } from "./registry.ts";

/** A subject that turned out to have nothing new is not asked for again for so long. */
const REFRESH_PAUSE_MS = 1_000;
/** Subjects of which it is remembered when they were asked for. */
const MAX_ASKED = 10_000;

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
    /** Whose registry it is. Without it, nobody has the say over a subject. */
    readonly hub?: RegistryHub;
    /** Where the events go by which others learn of what is registered; for whoever writes. `onUnannounced`: these could not be written now. */
    readonly origin?: HubOrigin;
    readonly onUnannounced?: (message: string) => void;
  } = {},
): Promise<Registry> {
  const { casters = NO_CASTERS, now = Date.now, onBroken = () => {}, hub = null, origin } = options;
  const known = openKnown(onBroken);
  const stop = new AbortController();
  const examiner = openExaminer(options.examinerLimits);
  const { onInterruption } = options;
  await followLog(journal, known, { signal: stop.signal, ...(onInterruption === undefined ? {} : { onInterruption }) });

  const load = async (subject: string): Promise<void> => {
    for (const fact of await journal.read(streamOf(subject), known.entries(subject).length)) known.applySchema(fact);
  };
  const authority = authorityOver(known, hub);
  const announce = origin === undefined || hub === null ? async () => 0 : announcer({ journal, known, hub, origin });
  // What is registered is registered: the events come with the next call, at the latest when a hub starts.
  const announced = async (): Promise<void> => {
    await announce().catch((error: unknown) => options.onUnannounced?.(messageOf(error)));
  };
  const desk: Desk = {
    journal,
    known,
    authority,
    load,
    draft: (subject, given) =>
      schemaVersion(subject, known.entries(subject).length + 1, given, known.lookUp, { uncompiled: true }),
    examined: examining(known, examiner, casters),
  };
  const set: Setter = async (type, data, actor) => {
    await journal.append(INDEX, "any", { type, data, by: { actor } });
    known.applyIndex({ type, data, by: { actor }, recordedAtMs: now() });
    await announced();
  };
  return {
    async register(subject, given, registerOptions) {
      const outcome = await register(desk, subject, given, registerOptions);
      if (registerOptions.isOneOfMany !== true) await announced();
      return outcome;
    },
    authority: authority.of,
    announce,
    ...versionsOf(desk),
    ...settingsOf(desk, set),
    ...proposalsOf(known, set),
    refresh: refresher(load, now),
    onChange(listener) {
      known.listeners.add(listener);
      return () => known.listeners.delete(listener);
    },
    close() {
      stop.abort();
      examiner.close();
    },
  };
}

/** Has a draft looked at in a thread. */
const examining =
  (known: Known, examiner: ReturnType<typeof openExaminer>, casters: Casters): Desk["examined"] =>
  async (candidate, earlier, { actor, level, examines }) => {
    const question = {
      level,
      examines,
      candidate: textOf(candidate),
      earlier: earlier.map(textOf),
      referred: referredBy([candidate, ...earlier], known.lookUp),
      castersDir: casters.dir,
    };
    const answer = await examiner.ask(question, actor);
    if (answer.kind === "refused") throw new TributaryError("schema-malformed", answer.message, answer.hint);
    return answer.findings;
  };

/** Writes a fact of the index, and goes by it at once. */
type Setter = (type: string, data: JsonObject, actor: string) => Promise<void>;

/** What is asked of the versions there are. */
function versionsOf(desk: Desk): Pick<Registry, "subjects" | "versions" | "check" | "find" | "registered" | "byId" | "maxId"> {
  const { known, draft } = desk;
  const { live, entries, registeredOf } = known;
  return {
    subjects: known.subjects,
    versions: known.versions,
    async check(subject, given, { level: asked, against, actor = "" } = {}) {
      const candidate = draft(subject, given);
      const earlier = live(subject).map(({ schema }) => schema);
      const chosen = against === undefined ? earlier : earlier.filter(({ version }) => against.includes(version));
      const use = asked ?? known.level(subject);
      // A check against named versions is against each of them.
      const level = against === undefined ? use : transitive(use);
      return desk.examined(candidate, chosen, { level, examines: false, actor });
    },
    find(subject, given, { normalize = false, withDeleted = false } = {}) {
      const found = (withDeleted ? entries(subject) : live(subject)).find(sameAs(draft(subject, given), normalize));
      return found && registeredOf(found);
    },
    registered: (subject, { withDeleted = false } = {}) => (withDeleted ? entries(subject) : live(subject)).map(registeredOf),
    maxId: known.maxId,
    byId: (id) =>
      [...known.all().values()]
        .flat()
        .filter((entry) => known.idOf(entry) === id)
        .map(registeredOf),
  };
}

function settingsOf(
  { known, authority }: { readonly known: Known; readonly authority: Authority },
  set: Setter,
): Pick<
  Registry,
  | "level"
  | "ownLevel"
  | "setLevel"
  | "normalizes"
  | "ownNormalize"
  | "setNormalize"
  | "mode"
  | "ownMode"
  | "setMode"
  | "setDeleted"
> {
  return {
    level: known.level,
    ownLevel: (subject) => known.levels.get(subject) ?? null,
    async setLevel(subject, level, actor) {
      authority.refuseOthers(subject, "takes no other level");
      refuseReadonly(known, subject, "takes no other level");
      await set("compatibility-set", { subject, level }, actor);
    },
    normalizes: known.normalizes,
    ownNormalize: (subject) => known.normalizing.get(subject) ?? null,
    async setNormalize(subject, normalize, actor) {
      authority.refuseOthers(subject, "takes no other setting");
      refuseReadonly(known, subject, "takes no other setting");
      await set("normalize-set", { subject, normalize }, actor);
    },
    mode: known.mode,
    ownMode: (subject) => known.modes.get(subject) ?? null,
    async setMode(subject, mode, actor) {
      authority.refuseOthers(subject, "takes no other mode");
      await set("mode-set", { subject, mode }, actor);
    },
    async setDeleted(subject, version, isDeleted, actor) {
      const what = isDeleted ? "has no version hidden" : "has no version shown again";
      authority.refuseOthers(subject, what);
      refuseReadonly(known, subject, what);
      await set(isDeleted ? "version-deleted" : "version-restored", { subject, version }, actor);
    },
  };
}

function proposalsOf(known: Known, set: Setter): Pick<Registry, "propose" | "proposals" | "dismiss"> {
  const isRegistered = (subject: string, fingerprint: string): boolean =>
    known.entries(subject).some(({ schema }) => schema.fingerprint === fingerprint);
  return {
    async propose(subject, version, given, actor) {
      let made: SchemaVersion;
      try {
        // Examined, not compiled: whoever has a site's token may send one, and compiling a large one takes a while.
        made = schemaVersion(subject, version, given, known.lookUp, { uncompiled: true });
      } catch {
        return false;
      }
      const { fingerprint } = made;
      if (isRegistered(subject, fingerprint)) return true;
      if (known.proposed.has(proposalKey(subject, version, fingerprint))) return true;
      if (known.proposed.size >= MAX_PROPOSALS) return false;
      await set("schema-proposed", factOf(made, given), actor);
      return true;
    },
    proposals: () => [...known.proposed.values()].filter(({ subject, fingerprint }) => !isRegistered(subject, fingerprint)),
    dismiss: (subject, version, fingerprint, actor) => set("proposal-dismissed", { subject, version, fingerprint }, actor),
  };
}

/** Loads a subject, unless that was done a moment ago. */
function refresher(load: (subject: string) => Promise<void>, now: () => number): (subject: string) => Promise<void> {
  const asked = new Map<string, number>();
  return async (subject) => {
    const last = asked.get(subject);
    if (last !== undefined && now() - last < REFRESH_PAUSE_MS) return;
    if (asked.size > MAX_ASKED) asked.clear();
    asked.set(subject, now());
    await load(subject);
  };
}

const transitive = (level: Level): Level =>
  level === "NONE" || level.endsWith("_TRANSITIVE") ? level : (`${level}_TRANSITIVE` as Level);
