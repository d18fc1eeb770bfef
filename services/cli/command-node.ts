import { runNode } from "../log/node/main.ts";
import type { Command } from "./args.ts";

export const node: Command = {
  name: "node",
  summary: "run the embedded event node alone",
  usage: "tributary node [--port N] [--data DIR | --memory] [--host HOST] [--secret-file FILE] [--live-buffer N]",
  help: `Answers EventStoreDB's gRPC protocol on one machine. It stores events in SQLite and flushes the disk before each acknowledgement. The official clients
connect to esdb://127.0.0.1:PORT?tls=false. Use it for development, tests and small hubs; use EventStoreDB or KurrentDB in production. With
--live-buffer N it drops live readers that are N events behind, as a real server does at 32. It has no users: anyone who reaches the port may read,
write and delete. To prevent that, give --secret-file a file that holds a secret of letters and digits; clients then add &connectionName=SECRET to the
address. A hub's own node always has a secret.

  tributary node --port 2113 --data ./events`,
  options: {
    port: { type: "string" },
    host: { type: "string" },
    data: { type: "string" },
    memory: { type: "boolean" },
    "live-buffer": { type: "string" },
    "secret-file": { type: "string" },
  },
  async run({ text, number, flag, out }) {
    const args = [
      ...(flag("memory") ? ["--memory"] : []),
      ...(out.json ? ["--json"] : []),
      "--port",
      String(number("port", 0, { least: 0, most: 65_535 })),
    ];
    for (const name of ["host", "data", "live-buffer", "secret-file"]) {
      const value = text(name);
      if (value !== undefined) args.push(`--${name}`, value);
    }
    return runNode(args);
  },
};
