import { isJsonObject, type JsonObject } from "../core/index.ts";

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
