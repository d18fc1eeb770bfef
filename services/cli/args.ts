import { type ParseArgsConfig, parseArgs } from "node:util";
import { messageOf, TributaryError } from "../core/index.ts";
import { type Output, output } from "./output.ts";

type Options = NonNullable<ParseArgsConfig["options"]>;

/** A command: its place in the tree, what `--help` teaches, and what it does. */
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

/** Parses a command's arguments; throws `usage` with what was wrong. */
export function inputOf(command: Command, args: readonly string[]): Input & { readonly wantsHelp: boolean } {
  let parsed: { values: Record<string, unknown>; positionals: string[] };
  try {
    parsed = parseArgs({ args: [...args], options: { ...COMMON, ...command.options }, allowPositionals: true }) as typeof parsed;
  } catch (error) {
    throw new TributaryError("usage", messageOf(error), `Use: ${command.usage}`);
  }
  const { values, positionals } = parsed;
  if (positionals.length > (command.maxPositionals ?? Infinity))
    throw new TributaryError(
      "usage",
      `${positionals[command.maxPositionals!]} is one argument too many`,
      `Use: ${command.usage}`,
    );
  const text = (name: string): string | undefined => values[name] as string | undefined;
  return {
    positionals,
    text,
    list: (name) => [values[name] ?? []].flat() as string[],
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
        throw new TributaryError("usage", `--${name} ${JSON.stringify(value)} is no number`, `Use: ${command.usage}`);
      return Number(value);
    },
    out: output(values.json === true),
    wantsHelp: values.help === true,
  };
}
