import type { JsonValue } from "../../core/index.ts";
import { LEVELS, type Level, MODES, type Registry } from "../../gate/index.ts";
import { type Answer, type Route, route } from "../../http/index.ts";
import { answers, objectBody, ok, type RegistryDeps, writableSubject } from "./common.ts";
import { ApiError, CODES } from "./refusal.ts";

/** One of the two settings that are made for all subjects (`null`), or for one. */
interface Setting {
  readonly root: "config" | "mode";
  readonly words: string;
  readonly body: ReturnType<typeof objectBody>;
  /** The code of the refusal that a subject has none of its own. */
  readonly missing: number;
  /** What a subject was given itself; `null`: nothing. */
  own(subject: string | null): Told | null;
  inForce(subject: string | null): Told;
  /** Sets what a request names, and returns what is told of it. */
  set(subject: string | null, asked: Readonly<Record<string, JsonValue>>, actor: string): Promise<Told>;
  reset(subject: string | null, actor: string): Promise<void>;
}
type Told = Readonly<Record<string, JsonValue>>;

/** Members of Confluent's config for which there is nothing here, and why. */
const NOT_HERE: Readonly<Record<string, string>> = {
  alias: "a subject has one name here",
  aliasForDeks: "no data are encrypted by the registry here",
  compatibilityGroup: "a version is compared with all that its level names",
  compatibilityPolicy: "there is one way of comparing for each type of schema",
  compatibilityLevel: "it is what answers call it; write compatibility",
  defaultMetadata: "schemas have no metadata here",
  overrideMetadata: "schemas have no metadata here",
  defaultRuleSet: "schemas have no rules here",
  overrideRuleSet: "schemas have no rules here",
  validateFields: "every schema is checked here as it is registered",
  validateNewSchemas: "every schema is checked here as it is registered",
  validateRules: "schemas have no rules here",
};
const KNOWN = ["compatibility", "normalize"];
/** What asks for nothing: clients send such members for settings that they do not use. */
const isNothing = (value: JsonValue | undefined): boolean =>
  value === undefined || value === null || value === false || value === "";

function refuseOthers(asked: Told): void {
  for (const [name, value] of Object.entries(asked)) {
    if (KNOWN.includes(name) || isNothing(value)) continue;
    const why = Object.hasOwn(NOT_HERE, name) ? NOT_HERE[name] : "there is no such setting";
    throw new ApiError(
      CODES.readonly,
      `The setting ${name.slice(0, 60)} is not taken: ${why}. Settings here are ${KNOWN.join(" and ")}.`,
    );
  }
}

/** A value that a request names; `null`: it takes away what was set; `undefined`: it does not say. */
function levelIn({ compatibility }: Told): Level | null | undefined {
  if (compatibility === undefined || compatibility === null) return compatibility;
  const level = LEVELS.find((each) => typeof compatibility === "string" && each === compatibility.toUpperCase());
  if (level !== undefined) return level;
  throw new ApiError(CODES.invalidLevel, `Invalid compatibility level. Valid values are ${LEVELS.join(", ")}`);
}
function normalizeIn({ normalize }: Told): boolean | null | undefined {
  if (normalize === undefined || normalize === null || typeof normalize === "boolean") return normalize;
  const said = String(normalize).toLowerCase();
  if (said === "true" || said === "false") return said === "true";
  throw new ApiError(422, "normalize is true or false.");
}

function config(registry: Registry): Setting {
  const own = (subject: string | null): { readonly level: Level | null; readonly normalize: boolean | null } => ({
    level: registry.ownLevel(subject),
    normalize: registry.ownNormalize(subject),
  });
  const told = (member: string, level: Level | null, normalize: boolean | null): Told => ({
    ...(level === null ? {} : { [member]: level }),
    ...(normalize === null ? {} : { normalize }),
  });
  return {
    root: "config",
    words: "compatibility",
    body: objectBody({
      compatibility: {
        type: ["string", "null"],
        description: "The level, in any case; null: the one that is in force without it.",
      },
      normalize: {
        type: ["boolean", "null"],
        description: "true: a text that differs in its layout only is the same schema, without a client asking for it.",
      },
    }),
    missing: CODES.config,
    own(subject) {
      const { level, normalize } = own(subject);
      return level === null && normalize === null ? null : told("compatibilityLevel", level, normalize);
    },
    inForce(subject) {
      const isSet = [subject, null].some((each) => registry.ownNormalize(each) !== null);
      return told("compatibilityLevel", registry.level(subject), isSet ? registry.normalizes(subject) : null);
    },
    async set(subject, asked, actor) {
      refuseOthers(asked);
      const [level, normalize] = [levelIn(asked), normalizeIn(asked)];
      if (level === undefined && normalize === undefined)
        throw new ApiError(
          CODES.invalidLevel,
          `Neither compatibility nor normalize is named. Valid values of compatibility are ${LEVELS.join(", ")}`,
        );
      if (level !== undefined) await registry.setLevel(subject, level, actor);
      if (normalize !== undefined) await registry.setNormalize(subject, normalize, actor);
      return told("compatibility", own(subject).level, own(subject).normalize);
    },
    async reset(subject, actor) {
      await registry.setLevel(subject, null, actor);
      if (registry.ownNormalize(subject) !== null) await registry.setNormalize(subject, null, actor);
    },
  };
}

const mode = (registry: Registry): Setting => ({
  root: "mode",
  words: "mode",
  body: objectBody({ mode: { type: "string" } }, ["mode"]),
  missing: CODES.mode,
  own(subject) {
    const own = registry.ownMode(subject);
    return own === null ? null : { mode: own };
  },
  inForce: (subject) => ({ mode: registry.mode(subject) }),
  async set(subject, { mode: wanted }, actor) {
    const found = MODES.find((each) => typeof wanted === "string" && each === wanted.toUpperCase());
    if (found === undefined) throw new ApiError(CODES.invalidMode, `Invalid mode. Valid values are ${MODES.join(", ")}`);
    await registry.setMode(subject, found, actor);
    return { mode: found };
  },
  reset: (subject, actor) => registry.setMode(subject, null, actor),
});

export const settingRoutes = (deps: RegistryDeps): Route[] => [
  ...routesOf(config(deps.registry), deps),
  ...routesOf(mode(deps.registry), deps),
];

/** Reading, setting and resetting, for all subjects and for one. */
function routesOf(of: Setting, { reader, writer }: RegistryDeps): Route[] {
  const name = of.root === "config" ? "Config" : "Mode";
  const { body } = of;
  const query = { defaultToGlobal: "`true`: what is in force, where the subject has none of its own." } as const;
  const all = { path: `/${of.root}` } as const;
  const one = { path: `/${of.root}/{subject}` } as const;
  const reading = { method: "GET", who: reader, query, answers: answers(`The ${of.words}.`) } as const;
  const setting = { method: "PUT", who: writer, body, answers: answers(`The ${of.words} as it was set.`) } as const;
  const resetting = { method: "DELETE", who: writer, answers: answers(`The ${of.words} that was set before.`) } as const;
  return [
    route({
      ...{ ...reading, ...all, name: `read${name}`, words: `Reads the ${of.words} of all subjects.` },
      handle: () => ok(of.inForce(null)),
    }),
    route({
      ...{ ...reading, ...one, name: `readSubject${name}`, words: `Reads the ${of.words} of a subject.` },
      handle: ({ params: { subject }, query: { defaultToGlobal } }) => read(of, subject, defaultToGlobal),
    }),
    route({
      ...{ ...setting, ...all, name: `set${name}`, words: `Sets the ${of.words} of all subjects.` },
      handle: async ({ body, who: { actor } }) => ok(await of.set(null, body, actor)),
    }),
    route({
      ...{ ...setting, ...one, name: `setSubject${name}`, words: `Sets the ${of.words} of a subject.` },
      handle: async ({ params: { subject }, body, who: { actor } }) => ok(await of.set(writableSubject(subject), body, actor)),
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

function read(of: Setting, subject: string, defaultToGlobal: string | undefined): Answer {
  const own = of.own(subject);
  if (defaultToGlobal === "true") return ok(of.inForce(subject));
  if (own !== null) return ok(own);
  throw new ApiError(of.missing, `Subject '${subject}' does not have subject-level ${of.words} configured`);
}

async function reset(of: Setting, subject: string | null, actor: string): Promise<Answer> {
  const own = of.own(subject);
  if (subject !== null && own === null)
    throw new ApiError(CODES.subject, `Subject '${subject}' not found: it has no ${of.words} of its own.`);
  const before = subject === null ? of.inForce(null) : own;
  await of.reset(subject, actor);
  return ok(before);
}
