import { readdirSync } from "node:fs";
import { TributaryError } from "../core/index.ts";
import { LEVELS, MODES } from "../gate/index.ts";
import type { Command } from "./args.ts";
import { ASKED, type Asked, completable, SCRIPTS, SHELLS } from "./completion.ts";
import { foldersHere, loadViews, schemasHere } from "./folders.ts";
import { nearest } from "./nearest.ts";
import { COMMANDS } from "./run.ts";

/** Words that usage lines write in capitals and that stand for themselves. */
const LITERALS: ReadonlySet<string> = new Set([...LEVELS, ...MODES]);

/** The names of each kind, from the project's own folders: no server is asked, so that a Tab waits for nothing. */
const NAMES: Readonly<Record<Asked, () => Promise<string[]>>> = {
  view: async () => (await loadViews(foldersHere())).map(({ name }) => name),
  subject: async () =>
    readdirSync(schemasHere(), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name),
};

export const completion: Command = {
  name: "completion",
  summary: "print a script that completes commands and options in your shell",
  usage: `tributary completion ${SHELLS.join("|")} | --values ${ASKED.join("|")}`,
  help: `The script completes commands, their options, and what options take: files, folders, views, subjects, states. Make it again after an upgrade.

  source <(tributary completion bash)                                        # in ~/.bashrc
  tributary completion zsh > ~/.zfunc/_tributary                             # with fpath+=~/.zfunc before compinit in ~/.zshrc
  tributary completion fish > ~/.config/fish/completions/tributary.fish

--values prints the names of the views or subjects in the project's folders, one a line; the scripts ask for them.`,
  options: { values: { type: "string" } },
  maxPositionals: 1,
  async run({ positionals, text, out }) {
    const kind = text("values");
    const [asked] = positionals;
    if ((kind === undefined) === (asked === undefined))
      throw new TributaryError("usage", "name one shell", `Use: ${completion.usage}`);
    if (kind !== undefined) {
      const known = ASKED.find((each) => each === kind);
      if (known === undefined) throw unknownWord(`--values does not know ${kind}`, kind, ASKED);
      const names = await NAMES[known]();
      out.result(names);
      for (const name of names) out.line(name);
      return 0;
    }
    const shell = SHELLS.find((each) => each === asked);
    if (shell === undefined) throw unknownWord(`there is no script for the shell ${asked}`, asked ?? "", SHELLS);
    const commands = await Promise.all(Object.values(COMMANDS).map((load) => load()));
    const script = SCRIPTS[shell](commands.map((command) => completable(command, LITERALS)));
    out.result({ shell, script });
    out.line(script.trimEnd());
    return 0;
  },
};

function unknownWord(says: string, word: string, known: readonly string[]): TributaryError {
  const meant = nearest(word, known);
  return new TributaryError("usage", says, `${meant === null ? "" : `Did you mean ${meant}? `}There are: ${known.join(", ")}.`);
}
