#!/usr/bin/env node
// The program `tributary`. Plain JavaScript that any Node since 12 reads: it checks whether this Node is new enough before it loads anything that needs a newer one.
import { readFileSync } from "node:fs";

const { engines } = JSON.parse(readFileSync(new URL("./package.json", import.meta.url), "utf8"));
const needed = Number(/\d+/.exec(engines.node)[0]);

if (Number(process.versions.node.split(".")[0]) < needed) {
  const args = process.argv.slice(2);
  const message = `Node ${process.versions.node} is too old: tributary needs Node ${needed} or newer`;
  const hint = `Install Node ${needed} from https://nodejs.org or with your version manager (nvm install ${needed}), and run the command again.`;
  if (args.includes("--json")) process.stdout.write(`${JSON.stringify({ error: { code: "backend-missing", message, hint } })}\n`);
  process.stderr.write(`tributary: ${message}.\n${hint}\n`);
  process.exitCode = 8;
} else {
  // Node 24 warns on each start that its SQLite is experimental, which is not shown; other warnings are.
  const emit = process.emitWarning;
  process.emitWarning = (warning, ...rest) => {
    const type = typeof rest[0] === "object" && rest[0] !== null ? rest[0].type : rest[0];
    if (type !== "ExperimentalWarning") emit.call(process, warning, ...rest);
  };
  await import("./services/cli/main.js");
}
