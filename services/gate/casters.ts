import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { isJsonObject, type JsonObject, messageOf, TributaryError } from "../core/index.ts";

/** Turns data of one version into data of another: a pure function. */
export type Caster = (data: JsonObject) => JsonObject;

/** Declared casters, by subject and versions. */
export interface Casters {
  get(subject: string, from: number, to: number): Caster | undefined;
  /** All of a subject's, as version pairs. */
  pairs(subject: string): readonly { readonly from: number; readonly to: number }[];
  /** The folder that they were loaded from, for a thread to load them as well; `null`: there are none. */
  readonly dir: string | null;
}

export const NO_CASTERS: Casters = { get: () => undefined, pairs: () => [], dir: null };

/**
 * Loads `<dir>/<subject>/v<N>-to-v<M>.ts`, each with the caster as its default export: upcasters lead to a later version, downcasters to an
 * earlier one. Throws `schema-malformed`, naming the file, for one that does not load or exports no function.
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
      `${file} exports no function`,
      "Write `export default (data) => ({ …data, … })`.",
    );
  return loaded.default as Caster;
}

/**
 * The steps that lead from one version to another, with casters where there are any: a direct one, or one version at a time. `null` when none is
 * declared on the way: then the data is read as it is.
 */
export function route(
  casters: Casters,
  subject: string,
  from: number,
  to: number,
): readonly { readonly to: number; readonly cast: Caster | null }[] | null {
  const direct = casters.get(subject, from, to);
  if (direct !== undefined) return [{ to, cast: direct }];
  const step = from < to ? 1 : -1;
  const out: { to: number; cast: Caster | null }[] = [];
  for (let at = from; at !== to; at += step) out.push({ to: at + step, cast: casters.get(subject, at, at + step) ?? null });
  return out.some(({ cast }) => cast !== null) ? out : null;
}

/** Runs a caster on a copy, so that it cannot change what it was given. Throws what it throws, and for what is no object. */
export function runCaster(cast: Caster, data: JsonObject): JsonObject {
  const out: unknown = cast(structuredClone(data));
  if (!isJsonObject(out)) throw new TypeError("the caster returned no object");
  return out;
}
