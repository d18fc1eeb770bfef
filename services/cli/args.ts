import { type ParseArgsConfig, parseArgs } from "node:util";
import { messageOf, TributaryError } from "../core/index.ts";
import { nearest } from "./nearest.ts";
import { type Output, output } from "./output.ts";

type Options = NonNullable<ParseArgsConfig["options"]>;

/** A command: its place in the tree, what `--help` explains, and what it does. */
export interface Command {
  readonly name: string;
  /** One line, for the list. */
  readonly summary: string;
  readonly usage: string;
  /** What to know, and an example that runs. */
  readonly help: string;
  readonly options: Options;
  /** How many arguments besides options it takes at most; default: any number. */
  readonly maxPositionals?: number;
  /** Whether it runs without a look at the configuration file, which may not be there yet. */
  readonly isWithoutSettings?: boolean;
  run(input: Input): Promise<number>;
}

export interface Input {
  readonly positionals: readonly string[];
  /** A string option; `undefined` when it was not given. */
  text(name: string): string | undefined;
  /** All values of a string option that may stand more than once. */
  list(name: string): readonly string[];
  /** A string option that must be there. */
  need(name: string, what: string): string;
  flag(name: string): boolean;
  number(name: string, otherwise: number): number;
  readonly out: Output;
}

const COMMON: Options = { json: { type: "boolean" }, config: { type: "string" }, help: { type: "boolean", short: "h" } };

/** The options of a command, those that all commands take among them. */
export const optionsOf = (command: Command): Options => ({ ...COMMON, ...command.options });

/** Node's own parser says what is wrong by a code, and names the option in its sentence. */
function wrongArgument(error: unknown, command: Command): TributaryError {
  const message = messageOf(error);
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  const name = /--?[^\s'=<]+/.exec(message)?.[0];
  const use = `Use: ${command.usage}`;
  if (name === undefined) return new TributaryError("usage", message, use);
  if (code === "ERR_PARSE_ARGS_UNKNOWN_OPTION") {
    const known = nearest(name.replace(/^-+/, ""), Object.keys(optionsOf(command)));
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

/** Parses a command's arguments; throws `usage` with what was wrong, and the option that is nearest to one that there is not. */
export function inputOf(command: Command, args: readonly string[]): Input & { readonly wantsHelp: boolean } {
  let parsed: { values: Record<string, unknown>; positionals: string[] };
  try {
    parsed = parseArgs({ args: [...args], options: optionsOf(command), allowPositionals: true });
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
    number(name, otherwise) {
      const value = text(name);
      if (value === undefined) return otherwise;
      if (!/^\d+$/.test(value))
        throw new TributaryError("usage", `--${name} ${JSON.stringify(value)} is not a number`, `Use: ${command.usage}`);
      return Number(value);
    },
    out: output(values.json === true),
    wantsHelp: values.help === true,
  };
}
