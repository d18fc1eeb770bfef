import type { Finding, SchemaText } from "../../gate/index.ts";
import { type Answer, type Route, route } from "../../http/index.ts";
import { answers, ok, type RegistryDeps, schemaBody, versionOf } from "./common.ts";

/** Comparing writes nothing, but makes the hub work, so it is only for those who may register. */
export function compatibilityRoutes({ registry, writer: who }: RegistryDeps): Route[] {
  const compare = async (
    subject: string,
    schema: SchemaText,
    { given, verbose, actor }: { readonly given: string | null; readonly verbose: string | undefined; readonly actor: string },
  ): Promise<Answer> => {
    const against = given === null ? {} : { against: [versionOf(registry, subject, given).schema.version] };
    const findings = await registry.check(subject, schema, { actor, ...against });
    const more = verbose === "true" ? { messages: findings.map(messageOfFinding), findings } : {};
    return ok({ is_compatible: findings.length === 0, ...more });
  };
  const shared = {
    method: "POST",
    who,
    body: schemaBody,
    answers: answers("Whether it is compatible, and with `verbose` why not."),
    query: { verbose: "`true`: say why not." },
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

/** A finding in a sentence or two. */
export const messageOfFinding = ({ direction, against, rule, message, path, counterexample, hint }: Finding): string =>
  `${direction === "backward" ? `it cannot read what version ${against} writes` : `version ${against} cannot read what it writes`}: ${message} (${rule} at ${path || "/"})${
    counterexample === null ? "" : `; for example ${JSON.stringify(counterexample.document)}: ${counterexample.problem}`
  }. ${hint}`;
