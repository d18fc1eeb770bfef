/** Runs commands of the program one after the other in a process of its own, whose time zone is that of `TZ`, and prints how each ended. */
import { type Ended, runHere } from "../support/here.ts";

const ended: Ended[] = [];
for (const args of JSON.parse(process.argv[2] ?? "[]") as string[][]) ended.push(await runHere(...args));
process.stdout.write(JSON.stringify(ended));
