import { readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { messageOf, TributaryError } from "../core/index.ts";
import type { Projection } from "../merge/index.ts";

/** Loads every projection of a folder: one file, one default export. Throws `projection-malformed`, naming the file. */
export async function loadProjections(dir: string): Promise<Projection[]> {
  const wrong = (file: string, problem: string, cause?: unknown): TributaryError =>
    new TributaryError("projection-malformed", `${file}: ${problem}`, "Correct it and start again.", { cause });
  let files: string[];
  try {
    files = readdirSync(dir).filter((name) => /\.(ts|js|mjs)$/.test(name) && !name.endsWith(".d.ts"));
  } catch (error) {
    throw wrong(dir, `the folder cannot be read: ${messageOf(error)}`, error);
  }
  const out: Projection[] = [];
  for (const name of files.sort()) {
    const file = join(dir, name);
    let module: { default?: Projection };
    try {
      module = (await import(pathToFileURL(file).href)) as typeof module;
    } catch (error) {
      throw error instanceof TributaryError ? error : wrong(file, messageOf(error), error);
    }
    if (typeof module.default?.writesOf !== "function") throw wrong(file, "it has no default export made with defineProjection");
    if (out.some((other) => other.name === module.default!.name)) throw wrong(file, `a second view named ${module.default.name}`);
    out.push(module.default);
  }
  return out;
}
