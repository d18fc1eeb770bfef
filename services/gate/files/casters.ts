import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { messageOf, TributaryError } from "../../core/index.ts";
import { type Caster, type Casters, NO_CASTERS } from "../casters.ts";

/**
 * Loads `<dir>/<subject>/v<N>-to-v<M>.ts`, each with the caster as its default export: upcasters lead to a later version, downcasters to an
 * earlier one. Throws `schema-malformed`, naming the file, for a file that does not load or does not export a function.
 */
export async function loadCasters(dir: string): Promise<Casters> {
  const found = new Map<string, Map<string, Caster>>();
  if (!existsSync(dir)) return NO_CASTERS;
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    for (const name of readdirSync(join(dir, entry.name))) {
      const parts = /^v([1-9]\d*)-to-v([1-9]\d*)\.[tj]s$/.exec(name);
      if (parts === null) continue;
      const file = join(dir, entry.name, name);
      const mine = found.get(entry.name) ?? new Map<string, Caster>();
      found.set(entry.name, mine.set(`${parts[1]}>${parts[2]}`, await load(file)));
    }
  }
  return {
    dir,
    get: (subject, from, to) => found.get(subject)?.get(`${from}>${to}`),
    pairs: (subject) =>
      [...(found.get(subject)?.keys() ?? [])].map((key) => ({ from: Number(key.split(">")[0]), to: Number(key.split(">")[1]) })),
  };
}

async function load(file: string): Promise<Caster> {
  let loaded: { default?: unknown };
  try {
    loaded = (await import(pathToFileURL(file).href)) as typeof loaded;
  } catch (error) {
    throw new TributaryError("schema-malformed", `${file} does not load: ${messageOf(error)}`, "Correct the caster.", {
      cause: error,
    });
  }
  if (typeof loaded.default !== "function")
    throw new TributaryError(
      "schema-malformed",
      `${file} does not export a function`,
      "Write `export default (data) => ({ …data, … })`.",
    );
  return loaded.default as Caster;
}
