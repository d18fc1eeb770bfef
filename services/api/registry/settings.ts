import { LEVELS, type Level, MODES, type Mode, type Registry } from "../../gate/index.ts";
import { type Answer, type Route, route } from "../../http/index.ts";
import { answers, memberBody, ok, type RegistryDeps, writableSubject } from "./common.ts";
import { ApiError, CODES } from "./refusal.ts";

/** One of the two settings that are made for all subjects, or for one. */
interface Setting<T extends string> {
  readonly root: "config" | "mode";
  /** Its member in requests and in answers. */
  readonly given: string;
  readonly told: string;
  readonly values: readonly T[];
  readonly words: string;
  readonly invalid: readonly [code: number, message: string];
  readonly missing: number;
  own(subject: string | null): T | null;
  inForce(subject: string | null): T;
  set(subject: string | null, value: T | null, actor: string): Promise<void>;
}

const config = (registry: Registry): Setting<Level> => ({
  root: "config",
  given: "compatibility",
  told: "compatibilityLevel",
  values: LEVELS,
  words: "compatibility",
  invalid: [CODES.invalidLevel, "Invalid compatibility level"],
  missing: CODES.config,
  own: registry.ownLevel,
  inForce: registry.level,
  set: registry.setLevel,
});

const mode = (registry: Registry): Setting<Mode> => ({
  root: "mode",
  given: "mode",
  told: "mode",
  values: MODES,
  words: "mode",
  invalid: [CODES.invalidMode, "Invalid mode"],
  missing: CODES.mode,
  own: registry.ownMode,
  inForce: registry.mode,
  set: registry.setMode,
});

export const settingRoutes = (deps: RegistryDeps): Route[] => [
  ...routesOf(config(deps.registry), deps),
  ...routesOf(mode(deps.registry), deps),
];

/** Reading, setting and resetting, for all subjects and for one. */
function routesOf<T extends string>(of: Setting<T>, { reader, writer }: RegistryDeps): Route[] {
  const name = of.root === "config" ? "Config" : "Mode";
  const body = memberBody(of.given);
  const query = { defaultToGlobal: "`true`: what is in force, where the subject has none of its own." } as const;
  const all = { path: `/${of.root}` } as const;
  const one = { path: `/${of.root}/{subject}` } as const;
  const reading = { method: "GET", who: reader, query, answers: answers(`The ${of.words}.`) } as const;
  const setting = { method: "PUT", who: writer, body, answers: answers(`The ${of.words} as it was set.`) } as const;
  const resetting = { method: "DELETE", who: writer, answers: answers(`The ${of.words} that was set before.`) } as const;
  return [
    route({
      ...{ ...reading, ...all, name: `read${name}`, words: `Reads the ${of.words} of all subjects.` },
      handle: () => read(of, null, undefined),
    }),
    route({
      ...{ ...reading, ...one, name: `readSubject${name}`, words: `Reads the ${of.words} of a subject.` },
      handle: ({ params: { subject }, query: { defaultToGlobal } }) => read(of, subject, defaultToGlobal),
    }),
    route({
      ...{ ...setting, ...all, name: `set${name}`, words: `Sets the ${of.words} of all subjects.` },
      handle: ({ body, who: { actor } }) => set(of, null, body[of.given], actor),
    }),
    route({
      ...{ ...setting, ...one, name: `setSubject${name}`, words: `Sets the ${of.words} of a subject.` },
      handle: ({ params: { subject }, body, who: { actor } }) => set(of, subject, body[of.given], actor),
    }),
    route({
      ...{ ...resetting, ...all, name: `reset${name}`, words: `Resets the ${of.words} of all subjects.` },
      handle: ({ who: { actor } }) => reset(of, null, actor),
    }),
    route({
      ...{ ...resetting, ...one, name: `resetSubject${name}`, words: `Resets the ${of.words} of a subject.` },
      handle: ({ params: { subject }, who: { actor } }) => reset(of, subject, actor),
    }),
  ];
}

function read<T extends string>(of: Setting<T>, subject: string | null, defaultToGlobal: string | undefined): Answer {
  if (isMissing(of, subject) && defaultToGlobal !== "true") throw missing(of, subject);
  return ok({ [of.told]: of.inForce(subject) });
}

async function set<T extends string>(of: Setting<T>, subject: string | null, wanted: unknown, actor: string): Promise<Answer> {
  const value = of.values.find((each) => typeof wanted === "string" && each === wanted.toUpperCase());
  if (value === undefined) throw new ApiError(of.invalid[0], `${of.invalid[1]}. Valid values are ${of.values.join(", ")}`);
  if (subject !== null) writableSubject(subject);
  await of.set(subject, value, actor);
  return ok({ [of.given]: value });
}

async function reset<T extends string>(of: Setting<T>, subject: string | null, actor: string): Promise<Answer> {
  const own = of.own(subject);
  if (isMissing(of, subject))
    throw new ApiError(CODES.subject, `Subject '${subject}' not found: it has no ${of.words} of its own.`);
  await of.set(subject, null, actor);
  return ok({ [of.told]: own ?? of.inForce(null) });
}

const isMissing = <T extends string>(of: Setting<T>, subject: string | null): boolean =>
  subject !== null && of.own(subject) === null;

const missing = <T extends string>({ missing, words }: Setting<T>, subject: string | null): ApiError =>
  new ApiError(missing, `Subject '${subject}' does not have subject-level ${words} configured`);
