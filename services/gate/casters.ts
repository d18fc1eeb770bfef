import { isJsonObject, type JsonObject } from "../core/index.ts";

/** A pure function that turns data of one version into data of another. */
export type Caster = (data: JsonObject) => JsonObject;

/** Declared casters, by subject and versions. */
export interface Casters {
  get(subject: string, from: number, to: number): Caster | undefined;
  /** All casters of a subject, as pairs of versions. */
  pairs(subject: string): readonly { readonly from: number; readonly to: number }[];
  /** The folder that they were loaded from, so that a thread can load them too; `null`: there are none. */
  readonly dir: string | null;
}

export const NO_CASTERS: Casters = { get: () => undefined, pairs: () => [], dir: null };

/**
 * The steps that lead from one version to another, with casters where there are any: a direct one, or one version at a time. `null` when no caster is
 * declared on the way: then the data is read as it is.
 */
function route(casters: Casters, subject: string, from: number, to: number): readonly Step[] | null {
  const direct = casters.get(subject, from, to);
  if (direct !== undefined) return [{ from, to, cast: direct }];
  const step = from < to ? 1 : -1;
  const out: Step[] = [];
  for (let at = from; at !== to; at += step)
    out.push({ from: at, to: at + step, cast: casters.get(subject, at, at + step) ?? null });
  return out.some(({ cast }) => cast !== null) ? out : null;
}

export interface Step {
  readonly from: number;
  readonly to: number;
  /** `null`: no caster is declared for this step. */
  readonly cast: Caster | null;
}

/** The way from one version to another. */
export interface Walk {
  /** The versions that the walk comes to, in order. */
  readonly through: readonly number[];
  /** Its steps; `cast` is `null` where no caster is declared for one. */
  readonly steps: readonly Step[];
  /** Leads data along the way. Where a step has no caster, `readAs` gives the data as the later version has it. */
  run(data: JsonObject, readAs: (data: JsonObject, from: number, to: number) => JsonObject): JsonObject;
}

/** The one walk over casters, for everyone who runs them; `null` where no caster is declared on the way. */
export function walkCasters(
  casters: Casters,
  { subject, from, to }: { readonly subject: string; readonly from: number; readonly to: number },
): Walk | null {
  const steps = route(casters, subject, from, to);
  if (steps === null) return null;
  return {
    through: steps.map((step) => step.to),
    steps,
    run: (data, readAs) =>
      steps.reduce((value, step) => (step.cast === null ? readAs(value, step.from, step.to) : runCaster(step.cast, value)), data),
  };
}

/** Runs a caster on a copy, so that it cannot change the data. Throws what the caster throws, and a `TypeError` where it does not return an object. */
function runCaster(cast: Caster, data: JsonObject): JsonObject {
  const out: unknown = cast(structuredClone(data));
  if (!isJsonObject(out)) throw new TypeError("the caster did not return an object");
  return out;
}
