/** The embedded node as a process: `node main.ts --port N --data DIR [--memory] [--secret-file FILE] [--json]`. */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { isTributaryError } from "../../core/index.ts";
import { startNode } from "./index.ts";

/** Starts a node from command-line arguments, says where it is, and closes it on SIGINT or SIGTERM. Returns the exit code. */
export async function runNode(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      port: { type: "string", default: "0" },
      host: { type: "string", default: "127.0.0.1" },
      data: { type: "string" },
      memory: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      "live-buffer": { type: "string" },
      "secret-file": { type: "string" },
    },
  });
  const node = await startNode({
    port: Number(values.port),
    host: values.host,
    ...(values.memory || values.data === undefined ? {} : { dataDir: values.data }),
    ...(values["live-buffer"] === undefined ? {} : { liveBufferEvents: Number(values["live-buffer"]) }),
    ...(values["secret-file"] === undefined ? {} : { secret: readFileSync(values["secret-file"], "utf8").trim() }),
    log: (event) => process.stderr.write(`${JSON.stringify({ ...event, error: String(event.error ?? "") })}\n`),
  });
  process.stdout.write(
    values.json
      ? `${JSON.stringify({ url: node.url, port: node.port, pid: process.pid })}\n`
      : `The event node answers at ${node.url.replace(/&connectionName=.*/, " (with its secret)")}${values.data === undefined || values.memory ? " (in memory: nothing is kept)" : `, keeping its events in ${values.data}`}.\n`,
  );
  await new Promise<void>((resolve) => {
    process.once("SIGINT", resolve);
    process.once("SIGTERM", resolve);
  });
  await node.close();
  return 0;
}

if (import.meta.main) {
  // The output may go to a file on the very disk that is full: a failed write must not end the node.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  runNode(process.argv.slice(2)).then(
    (code) => process.exit(code),
    (error: unknown) => {
      // The code is for the hub that started it.
      process.stderr.write(isTributaryError(error) ? `${error.code}: ${error.message}\n${error.hint}\n` : `${String(error)}\n`);
      process.exit(isTributaryError(error) ? error.exitCode : 1);
    },
  );
}
