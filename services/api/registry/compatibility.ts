import { isTributaryError } from "../../core/index.ts";
import type { Finding, Registry, SchemaText } from "../../gate/index.ts";
import { type Answer, type Route, route } from "../../http/index.ts";
import { answers, NORMALIZE, ok, type RegistryDeps, schemaBody, versionNumber } from "./common.ts";
import { ApiError, CODES } from "./refusal.ts";

/** Comparing writes nothing, but makes the hub work, so it is only for those who may register. */
export function compatibilityRoutes({ registry, writer: who }: RegistryDeps): Route[] {
  const compare = async (
    subject: string,
    schema: SchemaText,
    { given, verbose, actor }: { readonly given: string | null; readonly verbose: string | undefined; readonly actor: string },
  ): Promise<Answer> => {
    try {
      const findings = await registry.check(subject, schema, { actor, ...against(registry, subject, given) });
      const more = verbose === "true" ? { messages: findings.map(messageOfFinding), findings } : {};
      return ok({ is_compatible: findings.length === 0, ...more });
    } catch (error) {
      // Whoever asks for the reason is told the reason, as for any other schema.
      if (verbose !== "true" || !isTributaryError(error) || error.code !== "schema-malformed") throw error;
      return ok({ is_compatible: false, messages: [`${error.message}. ${error.hint}`], findings: [] });
    }
  };
  const shared = {
    method: "POST",
    who,
    body: schemaBody,
    answers: answers("Whether it is compatible, and with `verbose` why not."),
    query: { verbose: "`true`: say why not.", ...NORMALIZE },
  } as const;
  return [
    route({
      ...{ ...shared, path: "/compatibility/subjects/{subject}/versions", name: "compareSchema" },
      words: "Compares a schema with a subject's versions, as its level asks.",
      handle: ({ params: { subject }, body, query: { verbose }, who: { actor } }) =>
        compare(subject, body, { given: null, verbose, actor }),
    }),
    route({
      ...{ ...shared, path: "/compatibility/subjects/{subject}/versions/{version}", name: "compareSchemaWith" },
      words: "Compares a schema with one version.",
      handle: ({ params: { subject, version }, body, query: { verbose }, who: { actor } }) =>
        compare(subject, body, { given: version, verbose, actor }),
    }),
  ];
}

/** Which versions a schema is compared with. One that would be its subject's first is compatible with all there are. */
function against(registry: Registry, subject: string, given: string | null): { readonly against?: readonly number[] } {
  if (given === null) return {};
  const number = versionNumber(given);
  const versions = registry.registered(subject).map(({ schema }) => schema.version);
  if (number === "latest") return { against: versions.slice(-1) };
  if (!versions.includes(number)) throw new ApiError(CODES.version, `Version ${given} not found.`);
  return { against: [number] };
}

/** A finding in a sentence or two. */
export const messageOfFinding = ({ direction, against, rule, message, path, counterexample, hint }: Finding): string =>
  `${direction === "backward" ? `it cannot read what version ${against} writes` : `version ${against} cannot read what it writes`}: ${message} (${rule} at ${path || "/"})${
    counterexample === null ? "" : `; for example ${JSON.stringify(counterexample.document)}: ${counterexample.problem}`
  }. ${hint}`;
