import { spawnSync } from "node:child_process";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { optionsOf } from "../../services/cli/args.ts";
import { SHELLS } from "../../services/cli/completion.ts";
import { editDistance, nearest, nearestCommand } from "../../services/cli/nearest.ts";
import { COMMANDS } from "../../services/cli/run.ts";
import { type Usage, usageOf } from "../../services/cli/usage.ts";
import { runHere } from "../support/here.ts";
import { newDir } from "../support/home.ts";

const MAIN = join(import.meta.dirname, "../../services/cli/main.ts");

const has = (shell: string): boolean => spawnSync(shell, ["--version"]).status === 0;

const dir = newDir("completion");
afterAll(() => rmSync(dir, { recursive: true }));
async function scriptFile(shell: string): Promise<string> {
  const file = join(dir, shell);
  if (!existsSync(file)) {
    const { code, stdout } = await runHere("completion", shell);
    expect(code).toBe(0);
    writeFileSync(file, stdout);
  }
  return file;
}

/** Reads lines whose words are separated by bars; prints what is offered for the last word of each. The program that the script asks is this clone's. */
const DRIVER = `
tributary() { "${process.execPath}" --disable-warning=ExperimentalWarning "${MAIN}" "$@" < /dev/null; }
source "$1"
complete -p tributary > /dev/null || exit 1
while IFS= read -r line; do
  IFS='|' read -ra COMP_WORDS <<< "tributary|$line|."
  unset 'COMP_WORDS[-1]'
  COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
  _tributary tributary "\${COMP_WORDS[COMP_CWORD]}" "\${COMP_WORDS[COMP_CWORD - 1]}"
  (IFS='|'; printf '%s\\n' "\${COMPREPLY[*]}")
done`;

/** What bash offers for the last word of each line. */
async function inBash(lines: readonly (readonly string[])[]): Promise<string[][]> {
  const { stdout, stderr, status } = spawnSync("bash", ["--norc", "-c", DRIVER, "bash", await scriptFile("bash")], {
    encoding: "utf8",
    cwd: join(import.meta.dirname, ".."),
    input: lines.map((words) => `${words.join("|")}\n`).join(""),
  });
  expect(`${status} ${stderr}`).toBe("0 ");
  return stdout
    .split("\n")
    .slice(0, lines.length)
    .map((line) =>
      line
        .split("|")
        .filter((word) => word !== "")
        .sort(),
    );
}

describe("completion in bash", () => {
  it.each<[string, readonly string[], readonly string[]]>([
    ["first words", ["s"], ["site", "schema"]],
    ["the words of a group", ["site", ""], ["add", "revoke", "roles", "list"]],
    ["a part of such a word", ["quarantine", "re"], ["release", "reject"]],
    ["options of a command of two words", ["site", "add", "--de"], ["--device"]],
    ["options of a command of one word", ["rebuild", "--no"], ["--no-swap"]],
    ["options that every command takes", ["lag", "--j"], ["--json"]],
    ["the words that an option takes", ["quarantine", "list", "--state", "re"], ["released", "rejected"]],
    ["the same after a sign of equality", ["quarantine", "list", "--state", "=", "he"], ["held"]],
    ["words in capitals that stand for themselves", ["schema", "level", "site", "FORWARD_"], ["FORWARD_TRANSITIVE"]],
    ["an operand behind an option with its value", ["schema", "mode", "--data", "x", "site", "READO"], ["READONLY"]],
    ["nothing that is not there", ["site", "add", "--nonsense"], []],
    ["folders", ["schema", "lint", "gat"], ["gate"]],
    ["files and folders", ["audit", "verify", "--anchor", "soa"], ["soak.ts", "soak.unit.spec.ts"]],
    ["shells", ["completion", "z"], ["zsh"]],
  ])("offers %s", async (_, words, offered) => {
    expect(await inBash([words])).toEqual([[...offered].sort()]);
  });

  it("offers the project's views and subjects, however many words come before them", async () => {
    const lines = [
      ["rebuild", "beneficiaries", "dist"],
      ["view", "stock"],
      ["parked", "list", "--view", "hand"],
      ["schema", "show", "bene"],
    ];
    expect(await inBash(lines)).toEqual([
      ["distribution_summary", "distributions"],
      ["stock_ledger", "stock_movements"],
      ["handouts"],
      ["beneficiary", "beneficiary-removal", "beneficiary-update"],
    ]);
  });

  it("knows every command and every option, and no other", async () => {
    const commands = await Promise.all(Object.values(COMMANDS).map((load) => load()));
    const offered = await inBash(commands.map(({ name }) => [...name.split(" "), "--"]));
    expect(offered).toEqual(
      commands.map((command) =>
        Object.keys(optionsOf(command))
          .map((option) => `--${option}`)
          .sort(),
      ),
    );
  });
});

describe("completion in other shells", () => {
  it.skipIf(!has("zsh"))("zsh reads its script (skipped where there is no zsh)", async () => {
    expect(spawnSync("zsh", ["-n", await scriptFile("zsh")], { encoding: "utf8" })).toMatchObject({ status: 0, stderr: "" });
  });

  it.skipIf(!has("fish"))("fish offers the same (skipped where there is no fish)", async () => {
    const file = await scriptFile("fish");
    const offered = (line: string): string[] =>
      spawnSync("fish", ["--no-config", "-c", `source "${file}"; complete -C ${JSON.stringify(line)}`], { encoding: "utf8" })
        .stdout.split("\n")
        .map((each) => each.split("\t")[0] ?? "")
        .filter((each) => each !== "");
    expect(offered("tributary site ").sort()).toEqual(["add", "list", "revoke", "roles"]);
    expect(offered("tributary site add --de")).toEqual(["--device"]);
    expect(offered("tributary quarantine list --state re").sort()).toEqual(["rejected", "released"]);
  });

  it("names every command and every option in every script", async () => {
    const commands = await Promise.all(Object.values(COMMANDS).map((load) => load()));
    for (const shell of SHELLS) {
      const { stdout } = await runHere("completion", shell);
      for (const command of commands) {
        for (const word of command.name.split(" ")) expect(stdout, `${shell}: ${command.name}`).toContain(word);
        for (const option of Object.keys(command.options))
          expect(stdout, `${shell}: ${option}`).toContain(shell === "fish" ? `-l ${option}` : `--${option}`);
      }
    }
  });
});

it.each([
  [["completion"], /name one shell/],
  [["completion", "bsh"], /no script for the shell bsh\nDid you mean bash\?/],
  [["completion", "--values", "vew"], /--values does not know vew\nDid you mean view\?/],
])("completion refuses %j in words", async (args, says) => {
  expect(await runHere(...args)).toMatchObject({ code: 2, stderr: expect.stringMatching(says) });
});

describe("a usage line", () => {
  const usage = (line: string, name: string): Usage => usageOf(line, name, (option) => option !== "all", new Set(["FULL"]));

  it("says what each word stands for, in each way to write the command", () => {
    expect(usage("tributary schema register SUBJECT FILE | FOLDER [--actor NAME]", "schema register")).toEqual({
      options: new Map([["actor", { kinds: [], words: [] }]]),
      positionals: [
        { kinds: ["subject", "directory"], words: [] },
        { kinds: ["file"], words: [] },
      ],
      repeats: false,
    });
  });

  it("says what repeats, even in brackets", () => {
    expect(usage("tributary reconcile [VIEW…] [--all] | --field FILE", "reconcile")).toMatchObject({
      positionals: [{ kinds: ["view"] }],
      repeats: true,
      options: new Map([["field", { kinds: ["file"], words: [] }]]),
    });
  });

  it("tells words that stand for themselves from kinds of values", () => {
    expect(usage("tributary x [--state open|all] [--level FULL|default|LEVEL] [--with JSON|@FILE]", "x").options).toEqual(
      new Map([
        ["state", { kinds: [], words: ["open", "all"] }],
        ["level", { kinds: [], words: ["FULL", "default"] }],
        ["with", { kinds: ["file"], words: [] }],
      ]),
    );
  });

  it("reads brackets within brackets", () => {
    expect([...usage("tributary x E [--as-of [I:]POSITION [--view NAME]]", "x").options.keys()]).toEqual(["as-of", "view"]);
  });
});

it("every command stands in the table under its own name, and its usage begins with it", async () => {
  for (const [name, load] of Object.entries(COMMANDS)) {
    const command = await load();
    expect(command.name).toBe(name);
    expect(command.usage.startsWith(`tributary ${name}`), command.usage).toBe(true);
  }
});

it("every option of a command stands in its usage line, and no other does", async () => {
  for (const load of Object.values(COMMANDS)) {
    const { usage, options, name } = await load();
    const written = new Set([...usage.matchAll(/--([a-z-]+)/g)].map(([, option]) => option));
    // Every command takes them.
    for (const common of ["json", "config"]) written.delete(common);
    expect([...written].sort(), name).toEqual(
      Object.keys(options)
        .filter((option) => option !== "config")
        .sort(),
    );
  }
});

describe("did you mean", () => {
  it.each([
    [["sites", "list"], "tributary site list"],
    [["list", "sites"], "tributary site list"],
    [["site", "lst"], "tributary site list"],
    [["sit", "add", "juba"], "tributary site add"],
    [["quarantin", "show"], "tributary quarantine show"],
    [["verify"], "tributary audit verify"],
    [["rebiuld", "beneficiaries"], "tributary rebuild"],
    [["Hub"], "tributary hub"],
    [["sites"], "tributary site"],
  ])("a command: %j", async (args, meant) => {
    const { code, stderr, stdout } = await runHere(...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(`there is no command ${args.slice(0, 2).join(" ")}\nDid you mean \`${meant}\`? `);
  });

  it("names what a group has if nothing is near, and never another group's command", async () => {
    expect((await runHere("key", "abolish")).stderr).toContain("`tributary key` has: list, rotate, retire. ");
  });

  it("guesses nothing if nothing is near", async () => {
    const { stderr } = await runHere("zzzzzz");
    expect(stderr).toContain("there is no command zzzzzz\n`tributary --help` lists the commands.");
  });

  it.each([
    [["site", "list", "--dta", "x"], /has no option --dta\nDid you mean --data\? Use: tributary site list/],
    [["rebuild", "--no-swop"], /has no option --no-swop\nDid you mean --no-swap\?/],
    [["lag", "--jsn"], /has no option --jsn\nDid you mean --json\?/],
    [["lag", "--completely-other"], /has no option --completely-other\nUse: tributary lag/],
    [["lag", "-x"], /has no option -x\nUse: /],
    [["view", "--limit"], /--limit needs a value\n/],
    [["view", "--limit", "--at", "x"], /--limit needs a value\n.*--limit=VALUE/],
    [["rebuild", "--all=yes"], /--all takes no value\n/],
    [["lag", "--help=yes"], /--help takes no value\n/],
    [["view", "x", "y"], /y is one argument too many\n/],
  ])("an option: %j", async (args, says) => {
    expect(await runHere(...args)).toMatchObject({ code: 2, stdout: "", stderr: expect.stringMatching(says) });
  });

  it("counts what must be put in, left out, replaced or swapped", () => {
    expect(editDistance("rebuild", "rebiuld")).toBe(1);
    expect(editDistance("", "abc")).toBe(3);
    expect(editDistance("kitten", "sitting")).toBe(3);
    expect(editDistance("same", "same")).toBe(0);
  });

  it("prefers the nearest, and is silent if more than a third is wrong", () => {
    expect(nearest("lits", ["list", "lint"])).toBe("list");
    expect(nearest("abcdef", ["uvwxyz"])).toBeNull();
    expect(nearestCommand(["fly"], Object.keys(COMMANDS))).toBeNull();
  });
});
