/**
 * What a shell can complete, and the scripts that do it. Commands go in; a script for bash, zsh or fish comes out. A script is made from the commands themselves, so
 * it offers only options that they take. Names that change (views, subjects) are asked of the program when somebody presses Tab.
 */
import { type Command, optionsOf } from "./args.ts";
import { type Kind, type Usage, usageOf, type Values } from "./usage.ts";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/** Names that the program knows; the rest of the kinds are the shell's own. */
export const ASKED = ["view", "subject"] as const;
export type Asked = (typeof ASKED)[number];

export interface Completable extends Usage {
  readonly name: string;
  readonly summary: string;
  /** All options, as they are typed. */
  readonly flags: readonly string[];
}

const ANY: Values = { kinds: [], words: [] };
/** Options that take the same kind of value wherever they stand. */
const SAME_EVERYWHERE: Readonly<Record<string, Kind>> = {
  view: "view",
  schemas: "directory",
  projections: "directory",
  config: "file",
};

/** What can be completed for a command. `literals`: words in capitals that stand for themselves in usage lines. */
export function completable(command: Command, literals: ReadonlySet<string>): Completable {
  const options = optionsOf(command);
  const names = Object.keys(options);
  const takesValue = (name: string): boolean => options[name]?.type === "string";
  const usage = usageOf(command.usage, command.name, takesValue, literals);
  const valuesFor = (name: string): Values => {
    const kind = SAME_EVERYWHERE[name];
    return kind === undefined ? (usage.options.get(name) ?? ANY) : { kinds: [kind], words: [] };
  };
  return {
    name: command.name,
    summary: command.summary,
    flags: names.map((name) => `--${name}`),
    options: new Map(names.filter(takesValue).map((name) => [`--${name}`, valuesFor(name)])),
    positionals: command.name === "view" ? [{ kinds: ["view"], words: [] }] : usage.positionals,
    repeats: usage.repeats,
  };
}

/** The first words of all commands, each with what it is for. */
function firstWords(commands: readonly Completable[]): ReadonlyMap<string, string> {
  const first = new Map<string, string>();
  for (const { name, summary } of commands) {
    const [word = name, ...rest] = name.split(" ");
    const inGroup = commands.filter((each) => each.name.startsWith(`${word} `)).map((each) => each.name.slice(word.length + 1));
    first.set(word, rest.length === 0 ? summary : inGroup.join(", "));
  }
  return first;
}

const groupsOf = (commands: readonly Completable[]): string[] => [
  ...new Set(commands.filter(({ name }) => name.includes(" ")).map(({ name }) => name.split(" ")[0] ?? name)),
];
const secondWords = (commands: readonly Completable[], group: string): Completable[] =>
  commands.filter(({ name }) => name.startsWith(`${group} `));

/** The text in single quotes, for bash and zsh. */
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;
const quotedForFish = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;

const head = (shell: Shell, how: string): string =>
  `# Completion of \`tributary\` in ${shell}, made by \`tributary completion ${shell}\`. ${how}
# Make it again after an upgrade.`;

/** One word without spaces: kinds, and words behind a colon. */
const coded = ({ kinds, words }: Values): string => [...kinds, ...words.map((word) => `:${word}`)].join(",");

/** Long because it is one script, which is read as a whole. */
export function bashScript(commands: readonly Completable[]): string {
  const rows = commands.map(({ name, flags, options, positionals, repeats }) => {
    const valued = [...options].map(([flag, values]) => `${flag}=${coded(values)}`).join(" ");
    const operands = positionals.map((values) => coded(values) || "-").join(" ");
    return `    ${quoted(name)}) flags=${quoted(flags.join(" "))} valued=${quoted(` ${valued} `)} operands=(${operands}) repeats=${repeats ? 1 : 0} ;;`;
  });
  const groups = groupsOf(commands).map(
    (group) =>
      `    ${group}) _tributary_reply "${secondWords(commands, group)
        .map(({ name }) => `:${name.slice(group.length + 1)}`)
        .join(",")}"; return ;;`,
  );
  return `${head("bash", "Put it where bash-completion looks, or: source <(tributary completion bash)")}

# Fills COMPREPLY with what a value can be: kinds, and words behind a colon, with commas between them.
_tributary_reply() {
  local each line IFS=,
  for each in $1; do
    case $each in
      directory | file) compopt -o filenames 2>/dev/null ;;
    esac
    while IFS= read -r line; do
      [[ -n $line ]] && COMPREPLY+=("$line")
    done < <(
      IFS=$' \\t\\n'
      case $each in
        :*) compgen -W "\${each#:}" -- "$cur" ;;
        directory) compgen -d -- "$cur" ;;
        file) compgen -f -- "$cur" ;;
        ${ASKED.join(" | ")}) compgen -W "$(tributary completion --values "$each" 2>/dev/null)" -- "$cur" ;;
      esac
    )
  done
}

_tributary() {
  local cur=\${COMP_WORDS[COMP_CWORD]} last=$((COMP_CWORD - 1))
  local first=\${COMP_WORDS[1]} second=\${COMP_WORDS[2]} command start i word kinds count=0
  local flags valued repeats
  local -a operands
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    _tributary_reply "${[...firstWords(commands).keys(), "--help"].map((word) => `:${word}`).join(",")}"
    return
  fi
  if ((COMP_CWORD == 2)); then case $first in
${groups.join("\n")}
  esac; fi
  # A command of two words, else one of one.
  for command in "$first $second" "$first"; do
    start=2
    [[ $command == *' '* ]] && start=3
    case $command in
${rows.join("\n")}
    *) continue ;;
    esac
    break
  done
  [[ -n $flags ]] || return
  # bash takes --option=value apart at the sign.
  [[ $cur == = ]] && cur=
  [[ \${COMP_WORDS[last]} == = ]] && last=$((last - 1))
  word=\${COMP_WORDS[last]}
  if ((last >= start)) && [[ $word == --* && $valued == *" $word="* ]]; then
    kinds=\${valued#*" $word="}
    _tributary_reply "\${kinds%% *}"
    return
  fi
  for ((i = start; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ $word == --* && $valued == *" $word="* ]]; then
      [[ \${COMP_WORDS[i + 1]} == = ]] && i=$((i + 1))
      i=$((i + 1))
    elif [[ $word != -* ]]; then
      count=$((count + 1))
    fi
  done
  if ((repeats && \${#operands[@]} > 0 && count >= \${#operands[@]})); then count=$((\${#operands[@]} - 1)); fi
  kinds=\${operands[count]}
  if [[ $cur != -* && -n $kinds && $kinds != - ]]; then
    _tributary_reply "$kinds"
  elif [[ $cur == -* || -z $kinds ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$cur"))
  fi
}
complete -F _tributary tributary
`;
}

const ZSH_KINDS: Readonly<Record<Kind, string>> = {
  directory: "_files -/",
  file: "_files",
  view: "_tributary_asked view",
  subject: "_tributary_asked subject",
};

/** What \`_arguments\` does for an argument: an action, or several that it tries together. */
function zshAction({ kinds, words }: Values): string {
  const actions = [...kinds.map((kind) => ZSH_KINDS[kind]), ...(words.length === 0 ? [] : [`(${words.join(" ")})`])];
  const [only = " "] = actions;
  if (actions.length <= 1) return only;
  const alternatives = [
    ...kinds.map((kind) => `'${kind}\\:${kind}\\:${ZSH_KINDS[kind]}'`),
    ...(words.length === 0 ? [] : [`'word\\:word\\:(${words.join(" ")})'`]),
  ];
  return `_alternative ${alternatives.join(" ")}`;
}

const zshDescribed = (word: string, summary: string): string => quoted(`${word.replaceAll(":", "\\:")}:${summary}`);

export function zshScript(commands: readonly Completable[]): string {
  const rows = commands.map(({ name, flags, options, positionals, repeats }) => {
    const specs = [
      ...flags.map((flag) => {
        const values = options.get(flag);
        return quoted(values === undefined ? `*${flag}` : `*${flag}=:${flag.slice(2)}:${zshAction(values)}`);
      }),
      ...positionals.map((values, i) =>
        quoted(
          `${repeats && i === positionals.length - 1 ? "*" : i + 1}:${values.kinds.join(" or ") || "value"}:${zshAction(values)}`,
        ),
      ),
    ];
    return `    ${quoted(name)}) _arguments -S ${specs.join(" ")} ;;`;
  });
  const groups = groupsOf(commands).map(
    (group) =>
      `    ${group}) words_known=(${secondWords(commands, group)
        .map(({ name, summary }) => zshDescribed(name.slice(group.length + 1), summary))
        .join(" ")}) ;;`,
  );
  return `#compdef tributary
${head("zsh", "Put it as _tributary into a folder of $fpath, before compinit runs.")}

_tributary_asked() {
  local -a found
  found=(\${(f)"$(tributary completion --values $1 2>/dev/null)"})
  (( \${#found} )) && compadd -- $found
}

_tributary() {
  local command
  local -a words_known
  if (( CURRENT == 2 )); then
    words_known=(${[...firstWords(commands)].map(([word, summary]) => zshDescribed(word, summary)).join(" ")})
    _describe command words_known
    return
  fi
  if (( CURRENT == 3 )); then
    case $words[2] in
${groups.join("\n")}
    esac
    if (( \${#words_known} )); then
      _describe command words_known
      return
    fi
  fi
  command="$words[2] $words[3]"
  case $command in
    ${commands
      .filter(({ name }) => name.includes(" "))
      .map(({ name }) => quoted(name))
      .join(" | ")}) words=("\${(@)words[3,-1]}"); (( CURRENT -= 2 )) ;;
    *) command=$words[2]; words=("\${(@)words[2,-1]}"); (( CURRENT -= 1 )) ;;
  esac
  case $command in
${rows.join("\n")}
  esac
}

if [ "$funcstack[1]" = _tributary ]; then
  _tributary "$@"
else
  compdef _tributary tributary
fi
`;
}

const FISH_KINDS: Readonly<Record<Kind, string>> = {
  directory: "(__fish_complete_directories (commandline -ct))",
  file: "(__fish_complete_path (commandline -ct))",
  view: "(tributary completion --values view 2>/dev/null)",
  subject: "(tributary completion --values subject 2>/dev/null)",
};
const fishValues = ({ kinds, words }: Values): string => [...kinds.map((kind) => FISH_KINDS[kind]), ...words].join(" ");

export function fishScript(commands: readonly Completable[]): string {
  const lines = [...firstWords(commands)].map(
    ([word, summary]) => `complete -c tributary -n '__tributary_is' -a ${word} -d ${quotedForFish(summary)}`,
  );
  for (const group of groupsOf(commands))
    for (const { name, summary } of secondWords(commands, group))
      lines.push(
        `complete -c tributary -n '__tributary_is ${group}' -a ${name.slice(group.length + 1)} -d ${quotedForFish(summary)}`,
      );
  for (const { name, flags, options, positionals } of commands) {
    const when = `complete -c tributary -n '__tributary_runs ${name}'`;
    for (const flag of flags) {
      const values = options.get(flag);
      const found = values === undefined ? "" : fishValues(values);
      lines.push(
        `${when} -l ${flag.slice(2)}${values === undefined ? "" : ` -x${found === "" ? "" : ` -a ${quotedForFish(found)}`}`}`,
      );
    }
    const found = fishValues(
      positionals.reduce((all, each) => ({ kinds: [...all.kinds, ...each.kinds], words: [...all.words, ...each.words] }), ANY),
    );
    if (found !== "") lines.push(`${when} -a ${quotedForFish(found)}`);
  }
  return `${head("fish", "Put it into ~/.config/fish/completions/tributary.fish")}

# Whether just these words stand behind \`tributary\`.
function __tributary_is
    set -l words (commandline -opc)
    test "$words[2..-1]" = "$argv"
end

# Whether a command stands on the line, with more behind it.
function __tributary_runs
    set -l words (commandline -opc)
    set -l last (math (count $argv) + 1)
    test (count $words) -ge $last; and test "$words[2..$last]" = "$argv"
end

complete -c tributary -f
${lines.join("\n")}
`;
}

/** The script that completes \`tributary\` in a shell. */
export const SCRIPTS: Readonly<Record<Shell, (commands: readonly Completable[]) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};
