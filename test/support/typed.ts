import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, onTestFinished } from "vitest";
import { freePort } from "../../services/local/index.ts";
import { withCluster } from "./cluster.ts";
import { runHereWith } from "./here.ts";
import { openDir } from "./hub-process.ts";
import { eventually } from "./temp.ts";

const ROOT = join(import.meta.dirname, "../..");

/** What a document has its reader do: type commands, or write a file. */
export type Block =
  | { readonly does: "run"; readonly isHub: boolean; readonly commands: readonly string[] }
  | { readonly does: "file"; readonly path: string; readonly text: string };

const BLOCK = /<!-- (run|file)(?:: ([^\n]+?))? -->\n(?:((?: {4}.*\n)+)|```\w*\n([\s\S]*?)```\n)/g;

/** The blocks of a document that are marked `<!-- run -->`, `<!-- run: hub -->` or `<!-- file: PATH -->`, in their order. */
export const blocksOf = (document: string): Block[] =>
  [...readFileSync(join(ROOT, document), "utf8").matchAll(BLOCK)].map(([, does, name, indented = "", fenced = ""]) =>
    does === "file"
      ? { does, path: name ?? "", text: fenced }
      : {
          does: "run",
          isHub: name === "hub",
          commands: indented.split("\n").flatMap((line) => (line.trim() === "" ? [] : [line.trim()])),
        },
  );

/** The text of a document outside all blocks. */
export const besides = (document: string): string => readFileSync(join(ROOT, document), "utf8").replaceAll(BLOCK, "");

/**
 * Does what a document says, in its order, in a folder that looks like a fresh clone. Only the port 8080 is changed, because it may be in use. Between blocks it waits until the
 * views have all that the hub has, as a person would. Returns what was said, block by block; the hub ends with the test.
 */
export async function follow(
  document: string,
): Promise<{ readonly dir: string; readonly said: readonly string[]; type(command: string): Promise<string> }> {
  const dir = openDir();
  symlinkSync(join(ROOT, "services"), join(dir, "services"));
  mkdirSync(join(dir, "test"));
  symlinkSync(join(ROOT, "test/data"), join(dir, "test/data"));
  for (const name of ["schemas", "projections", "policies"]) cpSync(join(ROOT, name), join(dir, name), { recursive: true });
  const port = String(await freePort());
  const data = join(dir, ".tributary/hub");
  const ours = {
    TRIBUTARY_DATA: data,
    TRIBUTARY_SCHEMAS: join(dir, "schemas"),
    TRIBUTARY_PROJECTIONS: join(dir, "projections"),
  };
  const env = { ...process.env, ...ours };
  withCluster(data);
  const paths: string[] = [];
  const said: string[] = [];
  let hub: ChildProcess | null = null;
  const type = (commands: readonly string[]): Promise<string> => typed([...paths, ...commands], dir, env);
  const caughtUp = async (): Promise<boolean> => {
    const { stdout } = await runHereWith(ours, ["lag", "--json"]);
    return (JSON.parse(stdout) as { events: number }).events === 0;
  };
  for (const block of blocksOf(document)) {
    if (block.does === "file") {
      mkdirSync(dirname(join(dir, block.path)), { recursive: true });
      writeFileSync(join(dir, block.path), block.text);
      continue;
    }
    const commands = block.commands.map((command) => command.replaceAll("8080", port));
    if (block.isHub) {
      hub = await hubRuns([...paths, `exec ${commands[0]}`], dir, env);
      continue;
    }
    said.push(await type(commands));
    paths.push(...commands.filter((command) => command.startsWith("export ")));
    if (hub !== null) await eventually("the views' having all", caughtUp);
  }
  return { dir, said, type: (command) => type([command]) };
}

/** Runs commands in one shell, one after the other; the first that fails ends it. */
async function typed(commands: readonly string[], cwd: string, env: NodeJS.ProcessEnv): Promise<string> {
  const shell = spawn("bash", ["-ec", commands.join("\n")], { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let all = "";
  shell.stdout.on("data", (chunk) => {
    out += String(chunk);
    all += String(chunk);
  });
  shell.stderr.on("data", (chunk) => {
    all += String(chunk);
  });
  const [code] = await once(shell, "close");
  expect(code, `${commands.join("\n")}\n${all}`).toBe(0);
  return out;
}

async function hubRuns(commands: readonly string[], cwd: string, env: NodeJS.ProcessEnv): Promise<ChildProcess> {
  const hub = spawn("bash", ["-ec", commands.join("\n")], { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  onTestFinished(async () => {
    if (hub.exitCode !== null) return;
    hub.kill("SIGTERM");
    await once(hub, "exit");
  });
  let said = "";
  for (const stream of [hub.stdout, hub.stderr])
    stream.on("data", (chunk) => {
      said += String(chunk);
    });
  await eventually("the hub's start", async () => hub.exitCode !== null || said.includes("is running"));
  expect(hub.exitCode, said).toBeNull();
  return hub;
}
