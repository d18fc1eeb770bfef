/**
 * Settings of this program: options, environment variables, `tributary.config.ts` and defaults, in this order. A configuration file comes in; while a command runs, what
 * the file says is put into the environment where a variable was not set, so that every process that the command starts has the same settings. Every setting is checked.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import { isNatsUrl, messageOf, nameOf, TributaryError } from "../core/index.ts";
import { originIn, parseListen, publicUrl } from "./addresses.ts";
import { checkEvery } from "./every.ts";

const FILES = ["ts", "mts", "js", "mjs", "json"].map((ending) => `tributary.config.${ending}`);
const LAST_PORT = 65_535;
const MAX_PROJECTORS = 64;
export const PROJECTOR_COUNT = { least: 1, most: MAX_PROJECTORS } as const;

/** Several origins, with commas between them. */
export const originsIn = (text: string | undefined): readonly string[] =>
  (text ?? "")
    .split(",")
    .map((each) => each.trim())
    .filter((each) => each !== "");

const isUrl = (text: string, ...schemes: readonly string[]): boolean => schemes.includes(URL.parse(text)?.protocol ?? "");
const saysOf = (check: (text: string) => unknown) =>
  function says(text: string): string | null {
    try {
      check(text);
      return null;
    } catch (error) {
      return messageOf(error);
    }
  };

const path = z.string().min(1, "it does not name a file or folder");
const checked = (says: (text: string) => string | null) =>
  z.string().superRefine((text, context) => {
    const problem = says(text);
    if (problem !== null) context.addIssue({ code: "custom", message: problem });
  });

const orgSays = saysOf((text) => nameOf("organisation", text));
const listenSays = saysOf(parseListen);
const originSays = saysOf(originIn);
const publicSays = saysOf((text) => publicUrl(text, "it"));
const whole =
  (least: number, most: number) =>
  (text: string): string | null =>
    /^\d+$/.test(text) && Number(text) >= least && Number(text) <= most
      ? null
      : `it is not a whole number from ${least} to ${most}`;
const portSays = whole(1, LAST_PORT);
const projectorsSay = whole(1, MAX_PROJECTORS);
const everySays = (text: string): string | null =>
  whole(1, Number.MAX_SAFE_INTEGER)(text) ?? saysOf(() => checkEvery(Number(text)))(text);
const counted = (says: (text: string) => string | null) =>
  z.number().superRefine((count, context) => {
    const problem = says(String(count));
    if (problem !== null) context.addIssue({ code: "custom", message: problem });
  });
const port = counted(portSays);
const serverSays = (text: string, ...schemes: readonly string[]): string | null =>
  isUrl(text, ...schemes) ? null : `it is not an address that begins with ${schemes.map((scheme) => `${scheme}//`).join(" or ")}`;
const natsSays = (text: string): string | null => (isNatsUrl(text) ? null : serverSays(text, "nats:", "tls:"));

/** The bounds of one question of GraphQL: what each is by default, and the most that it may be. docs/api.md says what they bound. */
export const QUESTION_LIMITS = {
  maxDepth: { usual: 12, most: 100 },
  maxCost: { usual: 50_000, most: 100_000_000 },
  maxAliases: { usual: 30, most: 10_000 },
  maxTokens: { usual: 2_000, most: 1_000_000 },
  maxBodyBytes: { usual: 1_048_576, most: 16_777_216 },
  maxPageRows: { usual: 1_000, most: 100_000 },
  pageRows: { usual: 50, most: 100_000 },
} as const;
type QuestionLimit = keyof typeof QUESTION_LIMITS;
const isQuestionLimit = (name: string): name is QuestionLimit => Object.hasOwn(QUESTION_LIMITS, name);
const LIMIT_NAMES = Object.keys(QUESTION_LIMITS).filter(isQuestionLimit);
const limitSays = (name: QuestionLimit) => whole(1, QUESTION_LIMITS[name].most);

/** What a configuration file may say. */
const fileSchema = z.strictObject({
  data: path.optional(),
  org: checked(orgSays).optional(),
  schemas: path.optional(),
  projections: path.optional(),
  listen: checked(listenSays).optional(),
  publicUrls: z.array(checked(publicSays)).optional(),
  projectors: counted(projectorsSay).optional(),
  reconcileEveryHours: counted(everySays).optional(),
  requireKeys: z.boolean().optional(),
  anchor: path.optional(),
  notifications: path.optional(),
  people: path.optional(),
  origins: z.array(checked(originSays)).optional(),
  servers: z
    .strictObject({
      nats: checked(natsSays).optional(),
      eventstore: checked((text) => serverSays(text, "esdb:", "esdb+discover:")).optional(),
      postgres: checked((text) => serverSays(text, "postgres:", "postgresql:")).optional(),
    })
    .optional(),
  limits: z
    .strictObject({
      maxDepth: counted(limitSays("maxDepth")).optional(),
      maxCost: counted(limitSays("maxCost")).optional(),
      maxAliases: counted(limitSays("maxAliases")).optional(),
      maxTokens: counted(limitSays("maxTokens")).optional(),
      maxBodyBytes: counted(limitSays("maxBodyBytes")).optional(),
      maxPageRows: counted(limitSays("maxPageRows")).optional(),
      pageRows: counted(limitSays("pageRows")).optional(),
    })
    .optional(),
  ports: z.strictObject({ nats: port.optional(), eventstore: port.optional(), postgres: port.optional() }).optional(),
  nats: z
    .strictObject({
      user: z.string().optional(),
      password: z.string().optional(),
      token: z.string().optional(),
      creds: path.optional(),
      nkey: path.optional(),
      ca: path.optional(),
      cert: path.optional(),
      key: path.optional(),
    })
    .optional(),
});

/** What `tributary.config.ts` exports; `docs/packages.md` says what each setting means. */
export type TributaryConfig = z.input<typeof fileSchema>;

/** One setting: its name in the file, its option and its variable. */
export interface Setting {
  readonly key: string;
  readonly variable: string;
  readonly option?: string;
  /** A file or folder, in a configuration file relative to that file. */
  readonly isPath?: boolean;
  readonly isSecret?: boolean;
  /** The default value, in words. */
  readonly usual: string;
  /** What is wrong with a text from the environment; `null`: nothing. */
  readonly says?: (text: string) => string | null;
}

const yesOrNo = (text: string): string | null => (["true", "false"].includes(text) ? null : "it is neither true nor false");

export const SETTINGS: readonly Setting[] = [
  { key: "data", variable: "TRIBUTARY_DATA", option: "data", isPath: true, usual: ".tributary/hub" },
  { key: "org", variable: "TRIBUTARY_ORG", option: "org", usual: "relief", says: orgSays },
  { key: "schemas", variable: "TRIBUTARY_SCHEMAS", option: "schemas", isPath: true, usual: "" },
  { key: "projections", variable: "TRIBUTARY_PROJECTIONS", option: "projections", isPath: true, usual: "" },
  {
    ...{ key: "listen", variable: "TRIBUTARY_LISTEN", option: "listen", usual: "127.0.0.1, on a free port" },
    says: listenSays,
  },
  {
    ...{ key: "publicUrls", variable: "TRIBUTARY_PUBLIC_URLS", option: "public-url", usual: "none" },
    says: (text) => text.split(",").flatMap((url) => publicSays(url.trim()) ?? [])[0] ?? null,
  },
  { key: "projectors", variable: "TRIBUTARY_PROJECTORS", option: "projectors", usual: "1", says: projectorsSay },
  {
    ...{ key: "reconcileEveryHours", variable: "TRIBUTARY_RECONCILE_EVERY", option: "reconcile-every", usual: "never" },
    says: everySays,
  },
  { key: "requireKeys", variable: "TRIBUTARY_REQUIRE_KEYS", option: "require-keys", usual: "false", says: yesOrNo },
  { key: "anchor", variable: "TRIBUTARY_ANCHOR", option: "anchor", isPath: true, usual: "none" },
  { key: "notifications", variable: "TRIBUTARY_NOTIFICATIONS", isPath: true, usual: "notifications.json in the data folder" },
  { key: "people", variable: "TRIBUTARY_PEOPLE", isPath: true, usual: "people.json in the data folder" },
  {
    ...{ key: "origins", variable: "TRIBUTARY_ORIGINS", usual: "none" },
    says: (text) => originsIn(text).flatMap((origin) => originSays(origin) ?? [])[0] ?? null,
  },
  ...LIMIT_NAMES.map((name) => ({
    key: `limits.${name}`,
    // maxDepth is TRIBUTARY_MAX_DEPTH.
    variable: `TRIBUTARY_${name.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`,
    usual: String(QUESTION_LIMITS[name].usual),
    says: limitSays(name),
  })),
  { key: "servers.nats", variable: "TRIBUTARY_NATS_URL", isSecret: true, usual: "a server of the hub's own", says: natsSays },
  {
    ...{ key: "servers.eventstore", variable: "TRIBUTARY_EVENTSTORE_URL", isSecret: true, usual: "a server of the hub's own" },
    says: (text) => serverSays(text, "esdb:", "esdb+discover:"),
  },
  {
    ...{ key: "servers.postgres", variable: "TRIBUTARY_POSTGRES_URL", isSecret: true, usual: "a server of the hub's own" },
    says: (text) => serverSays(text, "postgres:", "postgresql:"),
  },
  { key: "ports.nats", variable: "TRIBUTARY_NATS_PORT", option: "nats-port", usual: "a free port", says: portSays },
  {
    key: "ports.eventstore",
    variable: "TRIBUTARY_EVENTSTORE_PORT",
    option: "eventstore-port",
    usual: "a free port",
    says: portSays,
  },
  { key: "ports.postgres", variable: "TRIBUTARY_POSTGRES_PORT", option: "postgres-port", usual: "a free port", says: portSays },
  { key: "nats.user", variable: "TRIBUTARY_NATS_USER", usual: "none" },
  { key: "nats.password", variable: "TRIBUTARY_NATS_PASSWORD", isSecret: true, usual: "none" },
  { key: "nats.token", variable: "TRIBUTARY_NATS_TOKEN", isSecret: true, usual: "none" },
  { key: "nats.creds", variable: "TRIBUTARY_NATS_CREDS", option: "nats-creds", isPath: true, usual: "none" },
  { key: "nats.nkey", variable: "TRIBUTARY_NATS_NKEY", option: "nats-nkey", isPath: true, usual: "none" },
  { key: "nats.ca", variable: "TRIBUTARY_NATS_CA", option: "nats-ca", isPath: true, usual: "none" },
  { key: "nats.cert", variable: "TRIBUTARY_NATS_CERT", option: "nats-cert", isPath: true, usual: "none" },
  { key: "nats.key", variable: "TRIBUTARY_NATS_KEY", option: "nats-key", isPath: true, usual: "none" },
];

export type Source = "option" | "environment" | "file";

/** A configuration file that was read. */
interface ConfigFile {
  readonly file: string;
  /** What it says, by setting, as it would stand in the environment. */
  readonly values: ReadonlyMap<string, string>;
}

/** The settings while a command runs: one command at a time. */
let inForce: { readonly config: ConfigFile | null; readonly sources: ReadonlyMap<string, Source> } = {
  config: null,
  sources: new Map(),
};

/** Who gave a setting's value, by the setting's variable; `undefined`: nobody. */
export const givenBy = (variable: string): Source | undefined =>
  inForce.sources.get(variable) ?? (process.env[variable] ? "environment" : undefined);
/** The folder of the configuration file in force. */
export const configFolder = (): string | null => (inForce.config === null ? null : dirname(inForce.config.file));
export const configFile = (): string | null => inForce.config?.file ?? null;

/** What the environment or the configuration file says of a setting. Throws `usage` for a value that the setting cannot have. */
export function settingOf(key: string): string | undefined {
  const setting = SETTINGS.find((each) => each.key === key);
  if (setting === undefined) return undefined;
  const problem = problemOf(setting);
  if (problem !== null) throw new TributaryError("usage", problem, "Correct it, or unset it.");
  return process.env[setting.variable] || undefined;
}

/** The bounds of a question of GraphQL, as far as somebody has set them. Throws `usage` as `settingOf` does. */
export const limitsGiven = (): Partial<Record<QuestionLimit, number>> =>
  Object.fromEntries(
    LIMIT_NAMES.flatMap((name) => {
      const text = settingOf(`limits.${name}`);
      return text === undefined ? [] : [[name, Number(text)]];
    }),
  );

/** Throws `usage` with every environment variable whose value its setting cannot have. */
export function checkEnvironment(): void {
  const problems = SETTINGS.flatMap((setting) => problemOf(setting) ?? []);
  if (problems.length > 0)
    throw new TributaryError(
      "usage",
      `the environment:\n${problems.map((problem) => `  ${problem}`).join("\n")}`,
      "Correct these variables, or unset them. docs/packages.md lists all settings.",
    );
}

/** What is wrong with a setting's variable; `null`: nothing, or nobody has set it. */
function problemOf({ variable, says, isSecret = false }: Setting): string | null {
  const text = process.env[variable];
  const problem = text === undefined || text === "" ? null : (says?.(text) ?? null);
  return problem === null ? null : `${variable}${isSecret ? "" : `=${JSON.stringify(text)}`}: ${problem}`;
}

/**
 * Runs a command under the settings of its configuration file: the one that `given` or TRIBUTARY_CONFIG names, else `tributary.config.ts` here (or .mts, .js, .mjs,
 * .json), if there is one. `options`: the command's own options, which come first.
 */
export async function withSettings<T>(
  given: string | undefined,
  options: (name: string) => string | undefined,
  work: () => Promise<T>,
): Promise<T> {
  const file = fileGiven(given);
  const config = file === null ? null : await readConfigFile(file);
  const before = inForce;
  const added: { readonly variable: string; readonly was: string | undefined }[] = [];
  const sources = new Map<string, Source>();
  const put = (variable: string, text: string, source: Source): void => {
    added.push({ variable, was: process.env[variable] });
    process.env[variable] = text;
    sources.set(variable, source);
  };
  for (const { key, variable } of SETTINGS) {
    const text = config?.values.get(key);
    if (text !== undefined && !process.env[variable]) put(variable, text, "file");
  }
  // Options that every process of the command must know.
  for (const name of ["schemas", "projections"] as const) {
    const path = options(name);
    if (path !== undefined) put(name === "schemas" ? "TRIBUTARY_SCHEMAS" : "TRIBUTARY_PROJECTIONS", resolve(path), "option");
  }
  inForce = { config, sources };
  try {
    return await work();
  } finally {
    inForce = before;
    for (const { variable, was } of added.reverse())
      if (was === undefined) delete process.env[variable];
      else process.env[variable] = was;
  }
}

/** The configuration file to read; `null`: there is none. Throws `usage` where one was named that is not there, or where the folder has two. */
function fileGiven(given: string | undefined): string | null {
  const named = given ?? (process.env.TRIBUTARY_CONFIG || undefined);
  if (named !== undefined) {
    if (existsSync(named)) return resolve(named);
    throw new TributaryError(
      "usage",
      `there is no configuration file ${resolve(named)}`,
      `Check ${given === undefined ? "TRIBUTARY_CONFIG" : "--config"}.`,
    );
  }
  const found = FILES.filter((name) => existsSync(name));
  if (found.length > 1)
    throw new TributaryError(
      "usage",
      `this folder has more than one configuration file: ${found.join(" and ")}`,
      "Keep one of them, or name one with --config.",
    );
  return found.length === 0 ? null : resolve(found[0]!);
}

async function readConfigFile(file: string): Promise<ConfigFile> {
  let said: unknown;
  try {
    said = file.endsWith(".json")
      ? JSON.parse(readFileSync(file, "utf8"))
      : ((await import(pathToFileURL(file).href)) as { default?: unknown }).default;
  } catch (error) {
    throw new TributaryError("usage", `${file} cannot be read: ${messageOf(error)}`, "Correct the file, and try again.", {
      cause: error,
    });
  }
  if (said === undefined) throw new TributaryError("usage", `${file} has no default export`, "Write `export default { … }`.");
  const parsed = fileSchema.safeParse(said);
  if (!parsed.success)
    throw new TributaryError(
      "usage",
      `${file}:\n${problemsOf(parsed.error)}`,
      "Correct it. docs/packages.md lists all settings.",
    );
  const values = new Map<string, string>();
  for (const { key, isPath = false } of SETTINGS) {
    const value = valueAt(parsed.data, key);
    if (value === undefined) continue;
    const text = Array.isArray(value) ? value.join(",") : String(value);
    values.set(key, isPath && !/^[a-z][a-z0-9+.-]+:\/\//i.test(text) ? resolve(dirname(file), text) : text);
  }
  return { file, values };
}

/** Everything that is wrong, a line each: where, and what. */
function problemsOf(error: z.ZodError): string {
  const lines = error.issues.flatMap((issue) => {
    const at = issue.path.join(".");
    if (issue.code === "unrecognized_keys")
      return issue.keys.map((key) => `  ${[...issue.path, key].join(".")}: there is no such setting`);
    return [`  ${at === "" ? "the file" : at}: ${issue.message}`];
  });
  return lines.join("\n");
}

function valueAt(config: unknown, key: string): string | number | boolean | readonly string[] | undefined {
  let at: unknown = config;
  for (const name of key.split("."))
    at = typeof at === "object" && at !== null ? (at as Record<string, unknown>)[name] : undefined;
  // The schema has let this through.
  return at as ReturnType<typeof valueAt>;
}
