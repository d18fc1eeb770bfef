import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { messageOf, TributaryError } from "../core/index.ts";
import { checkViews, type View } from "../merge/engine.ts";

/**
 * Loads every projection of a folder: one file, one default export. Throws `projection-malformed`, naming the file. `again`: files that have changed since
 * this process loaded them are loaded again.
 */
export async function loadProjections(dir: string, { again = false }: { readonly again?: boolean } = {}): Promise<View[]> {
  const out = await viewsIn(dir, { again });
  checkViews(out);
  return out;
}

/** The same, not yet checked together: other views may be laid beside them. `only`: the names of the files to load. */
export async function viewsIn(
  dir: string,
  { again = false, only }: { readonly again?: boolean; readonly only?: readonly string[] } = {},
): Promise<View[]> {
  const wrong = (file: string, problem: string, cause?: unknown): TributaryError =>
    new TributaryError("projection-malformed", `${file}: ${problem}`, "Correct it and start again.", { cause });
  let files: string[];
  try {
    files = readdirSync(dir).filter((name) => /\.(ts|js|mjs)$/.test(name) && !name.endsWith(".d.ts"));
  } catch (error) {
    throw wrong(dir, folderProblem(error), error);
  }
  const out: View[] = [];
  for (const name of files.filter((name) => only?.includes(name) ?? true).sort()) {
    const file = join(dir, name);
    let module: { default?: View };
    try {
      const url = pathToFileURL(file);
      if (again) url.searchParams.set("changed", String(statSync(file).mtimeMs));
      module = (await import(url.href)) as typeof module;
    } catch (error) {
      throw error instanceof TributaryError ? error : wrong(file, messageOf(error), error);
    }
    if (!["entity", "totals", "sql"].includes(module.default?.kind ?? ""))
      throw wrong(file, "it has no default export made with defineProjection, defineTotals, defineJoin or defineSql");
    out.push(module.default!);
  }
  return out;
}

/** Why a folder cannot be read, in words. */
function folderProblem(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ENOENT") return "there is no such folder";
  return code === "ENOTDIR" ? "it is a file, and a folder is needed" : `the folder cannot be read: ${messageOf(error)}`;
}
