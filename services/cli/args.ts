import { type ParseArgsConfig, parseArgs } from "node:util";
import { messageOf, TributaryError } from "../core/index.ts";
import { nearest } from "./nearest.ts";
import { type Output, output } from "./output.ts";

type Options = NonNullable<ParseArgsConfig["options"]>;

/** A command: its name in the tree, what `--help` explains, and what it does. */
export interface Command {
  readonly name: string;
  /** One line, for the list. */
  readonly summary: string;
  readonly usage: string;
  /** What to know, and an example that runs. */
  readonly help: string;
  readonly options: Options;
  /** How many arguments besides options the command takes at most; default: any number. */
  readonly maxPositionals?: number;
  /** Whether the command runs without reading the configuration file, which may not be there yet. */
  readonly isWithoutSettings?: boolean;
  run(input: Input): Promise<number>;
}

/** The whole numbers that an option takes. */
export interface Range {
  readonly least: number;
  readonly most: number;
}

/** How many rows or entries are shown. */
export const ROW_COUNT: Range = { least: 1, most: 1_000_000_000 };
/** Days for which something is valid, or days in the past: at most ten years. */
export const DAY_COUNT: Range = { least: 1, most: 3_650 };

export interface Input {
  readonly positionals: readonly string[];
  /** A string option; `undefined` when it was not given. */
  text(name: string): string | undefined;
  /** All values of a string option that may stand more than once. */
  list(name: string): readonly string[];
  /** A string option that must be there. */
  need(name: string, what: string): string;
  flag(name: string): boolean;
  /** A whole number from `range.least` to `range.most`. Throws `usage` for another. */
  number(name: string, otherwise: number, range: Range): number;
  readonly out: Output;
}

const COMMON: Options = { json: { type: "boolean" }, config: { type: "string" }, help: { type: "boolean", short: "h" } };

/** The options of a command, including those that all commands take. */
export const optionsOf = (command: Command): Options => ({ ...COMMON, ...command.options });

/** Node's own parser says with a code what is wrong, and names the option in its message. */
function wrongArgument(error: unknown, command: Command): TributaryError {
  const message = messageOf(error);
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  const name = /--?[^\s'=<]+/.exec(message)?.[0];
  const use = `Use: ${command.usage}`;
  if (name === undefined) return new TributaryError("usage", message, use);
  if (code === "ERR_PARSE_ARGS_UNKNOWN_OPTION") {
    const known = optionMeant(name.replace(/^-+/, ""), Object.keys(optionsOf(command)));
    return new TributaryError(
      "usage",
      `\`tributary ${command.name}\` has no option ${name}`,
      known === null ? use : `Did you mean --${known}? ${use}`,
    );
  }
  // `-h, --help` names both forms: the long one says more.
  const long = /--[\w-]+/.exec(message)?.[0] ?? name;
  const isFlag = optionsOf(command)[long.slice(2)]?.type === "boolean";
  if (code === "ERR_PARSE_ARGS_INVALID_OPTION_VALUE")
    return new TributaryError(
      "usage",
      isFlag ? `${long} takes no value` : `${long} needs a value`,
      isFlag ? use : `A value that begins with a hyphen is written ${long}=VALUE. ${use}`,
    );
  return new TributaryError("usage", message, use);
}

/** A whole number, written in digits. Throws `usage` for anything else, and for a number beyond its range. */
export function wholeNumber(text: string, { least, most }: Range, what: string): number {
  const number = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (number >= least && number <= most) return number;
  throw new TributaryError(
    "usage",
    `${what} ${JSON.stringify(text)} is not a whole number from ${least} to ${most}`,
    `Write it in digits, like ${what} ${Math.min(Math.max(least, 10), most)}.`,
  );
}

/** What other programs call an option of ours. */
const ALSO_CALLED: Readonly<Record<string, readonly string[]>> = {
  port: ["listen", "nats-port"],
  host: ["listen", "hub"],
  address: ["listen", "hub"],
  bind: ["listen"],
  url: ["hub", "public-url"],
  server: ["hub"],
  endpoint: ["hub"],
  database: ["db"],
  file: ["db", "out"],
  dir: ["data"],
  folder: ["data"],
  path: ["data", "db"],
  "data-dir": ["data"],
  output: ["out"],
  filter: ["where"],
  query: ["where"],
  select: ["columns"],
  fields: ["columns"],
  "order-by": ["sort", "order"],
  order: ["sort"],
  sort: ["order"],
  max: ["limit"],
  count: ["limit"],
  n: ["limit"],
  page: ["after"],
  offset: ["after"],
  from: ["since", "after"],
  user: ["actor"],
  author: ["actor"],
  by: ["actor"],
  reason: ["note"],
  comment: ["note"],
  message: ["note"],
  type: ["as"],
  organisation: ["org"],
  organization: ["org"],
  key: ["token"],
  password: ["token"],
  time: ["at"],
  date: ["at"],
  format: ["json"],
};

/** The name of the option that somebody most likely meant; `null`: none is near. */
function optionMeant(typed: string, known: readonly string[]): string | null {
  const also = (Object.hasOwn(ALSO_CALLED, typed) ? ALSO_CALLED[typed] : undefined) ?? [];
  return also.find((name) => known.includes(name)) ?? nearest(typed, known);
}

/**
 * Joins an option and a number that begins with a hyphen into one word for the parser. So `--limit -5` is refused because -5 is not a count, and not because a value is missing.
 */
function withNegativeNumbers(command: Command, args: readonly string[]): string[] {
  const options = optionsOf(command);
  const out: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const [arg = "", next = ""] = [args[i], args[i + 1]];
    if (arg === "--") return [...out, ...args.slice(i)];
    const takesText = arg.startsWith("--") && options[arg.slice(2)]?.type === "string";
    const isJoined = takesText && /^-[\d.]/.test(next);
    out.push(isJoined ? `${arg}=${next}` : arg);
    if (isJoined) i++;
  }
  return out;
}

/** Parses a command's arguments. Throws `usage` with what was wrong and, for an unknown option, the nearest one. */
export function inputOf(command: Command, args: readonly string[]): Input & { readonly wantsHelp: boolean } {
  let parsed: { values: Record<string, unknown>; positionals: string[] };
  try {
    parsed = parseArgs({ args: withNegativeNumbers(command, args), options: optionsOf(command), allowPositionals: true });
  } catch (error) {
    throw wrongArgument(error, command);
  }
  const { values, positionals } = parsed;
  const extra = positionals[command.maxPositionals ?? Infinity];
  if (extra !== undefined) throw new TributaryError("usage", `${extra} is one argument too many`, `Use: ${command.usage}`);
  const text = (name: string): string | undefined => {
    const value = values[name];
    return typeof value === "string" ? value : undefined;
  };
  return {
    positionals,
    text,
    list: (name) => [values[name]].flat().filter((value) => typeof value === "string"),
    need(name, what) {
      const value = text(name);
      if (value === undefined || value === "")
        throw new TributaryError("usage", `--${name} is missing: ${what}`, `Use: ${command.usage}`);
      return value;
    },
    flag: (name) => values[name] === true,
    number(name, otherwise, range) {
      const value = text(name);
      return value === undefined ? otherwise : wholeNumber(value, range, `--${name}`);
    },
    out: output(values.json === true),
    wantsHelp: values.help === true,
  };
}
