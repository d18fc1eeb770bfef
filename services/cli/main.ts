#!/usr/bin/env -S node --disable-warning=ExperimentalWarning
/** The program: runs the command that its arguments name, and ends with its exit code. */
import { exitCodeOf, mindTheReader } from "./output.ts";
import { runCommand } from "./run.ts";

mindTheReader();
runCommand(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
  // A client library may hold a socket open; all that had to be written has been.
  // A write that failed is known only after its callback.
  process.stdout.write("", () => setImmediate(() => process.exit(exitCodeOf(code))));
});
