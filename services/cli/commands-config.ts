import { existsSync } from "node:fs";
import type { Command, Input } from "./args.ts";
import { type HubConfig, readConfig } from "./config.ts";
import { FOLDER_OPTIONS, foldersOf, usualFolder } from "./folders.ts";
import { table } from "./output.ts";
import { hubDir } from "./paths.ts";
import { checkEnvironment, configFile, givenBy, SETTINGS, type Setting, settingOf } from "./settings.ts";
import { recordedFolders } from "./state.ts";

/** A setting with the value that is in effect. */
interface Effective {
  readonly setting: string;
  readonly value: string;
  readonly from: "option" | "environment" | "file" | "hub" | "default";
  /** The option, variable or file that gave the value. */
  readonly location: string;
}

const BLANK = "…";

/** An address without its password or secret. Any other secret is left out entirely. */
function blanked(text: string): string {
  if (URL.parse(text) === null) return BLANK;
  return text.replace(/(:\/\/[^:/@]*):[^@]*@/, `$1:${BLANK}@`).replace(/connectionName=[^&]*/, `connectionName=${BLANK}`);
}

/** What a hub keeps of a setting from one start to the next. */
function keptBy(key: string, config: Partial<HubConfig>): string | undefined {
  if (key === "org") return config.org;
  if (key === "listen" && config.listen !== undefined) return `${config.listen.host}:${config.listen.port}`;
  if (key === "publicUrls" && (config.publicUrls ?? []).length > 0) return config.publicUrls!.join(",");
  if (key === "ports.nats" || key === "ports.eventstore" || key === "ports.postgres")
    return config.ports?.[key.slice("ports.".length) as keyof NonNullable<HubConfig["ports"]>]?.toString();
  return undefined;
}

function effective(setting: Setting, dir: string, input: Input): Effective {
  const { key, variable, option, isSecret = false, usual } = setting;
  const made = (value: string, from: Effective["from"], location: string): Effective => ({
    ...{ setting: key, value: isSecret && from !== "default" ? blanked(value) : value, from, location },
  });
  const source = givenBy(variable);
  if (key === "schemas" || key === "projections") {
    const path = foldersOf(input.text("data"))[key];
    const words = path ?? "only the hub's own";
    if (recordedFolders(dir) !== undefined) return made(words, "hub", `${dir}/hub.json`);
    const kept = readConfig(dir).folders;
    if (source === undefined && kept !== undefined) return made(kept[key] ?? words, "hub", `${dir}/config.json`);
    if (source === undefined) return made(usualFolder(key) ?? words, "default", "");
    return made(words, source, source === "option" ? `--${key}` : source === "file" ? configFile()! : variable);
  }
  if (key === "data" && input.text("data") !== undefined) return made(dir, "option", "--data");
  const text = settingOf(key);
  if (text !== undefined) return made(text, source!, source === "file" ? configFile()! : variable);
  const kept = keptBy(key, readConfig(dir));
  if (kept !== undefined) return made(kept, "hub", `${dir}/config.json`);
  return made(usual, "default", option === undefined ? variable : `--${option}`);
}

export const configCheck: Command = {
  name: "config check",
  summary: "show each setting, and where it comes from",
  usage: "tributary config check [--config FILE] [--data DIR] [--schemas DIR] [--projections DIR]",
  help: `Reads tributary.config.ts (or .mts, .js, .mjs, .json) in this folder, or the file that --config or TRIBUTARY_CONFIG names. If the file has mistakes,
the command lists all of them and ends with exit code 2. It does the same for environment variables. Each setting is taken from the first of these that
has it: an option, the environment, the file, what the hub in --data has kept, the default. Passwords are not shown. The folders of schemas and
projections are those that the hub was started with: every command on that hub uses them.

  tributary config check`,
  maxPositionals: 0,
  options: { data: { type: "string" }, ...FOLDER_OPTIONS },
  async run(input) {
    checkEnvironment();
    const dir = hubDir(input.text("data"));
    const settings = SETTINGS.map((setting) => effective(setting, dir, input));
    const file = configFile();
    // In JSON the location has an older name.
    input.out.result({ file, settings: settings.map(({ location, ...each }) => ({ ...each, place: location })) });
    input.out.line(file === null ? "There is no configuration file here.\n" : `${file} has no mistakes.\n`);
    const where = ({ from, location }: Effective): string => (from === "default" ? "" : location);
    input.out.line(
      table(
        ["setting", "value", "from", "where"],
        settings.map((each) => [each.setting, each.value, each.from, where(each)]),
      ),
    );
    for (const each of settings)
      if ((each.setting === "schemas" || each.setting === "projections") && each.value.includes("/") && !existsSync(each.value))
        input.out.line(`\nThe folder of ${each.setting} does not exist: ${each.value}`);
    return 0;
  },
};
