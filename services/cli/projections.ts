import { readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { messageOf, TributaryError } from "../core/index.ts";
import { checkViews, type View } from "../merge/index.ts";

/** Loads every projection of a folder: one file, one default export. Throws `projection-malformed`, naming the file. */
export async function loadProjections(dir: string): Promise<View[]> {
  const wrong = (file: string, problem: string, cause?: unknown): TributaryError =>
    new TributaryError("projection-malformed", `${file}: ${problem}`, "Correct it and start again.", { cause });
  let files: string[];
  try {
    files = readdirSync(dir).filter((name) => /\.(ts|js|mjs)$/.test(name) && !name.endsWith(".d.ts"));
  } catch (error) {
    throw wrong(dir, `the folder cannot be read: ${messageOf(error)}`, error);
  }
  const out: View[] = [];
  for (const name of files.sort()) {
    const file = join(dir, name);
    let module: { default?: View };
    try {
      module = (await import(pathToFileURL(file).href)) as typeof module;
    } catch (error) {
      throw error instanceof TributaryError ? error : wrong(file, messageOf(error), error);
    }
    if (!["entity", "totals", "sql"].includes(module.default?.kind ?? ""))
      throw wrong(file, "it has no default export made with defineProjection, defineTotals, defineJoin or defineSql");
    out.push(module.default!);
  }
  checkViews(out);
  return out;
}
