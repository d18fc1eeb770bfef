/** Who somebody is to this hub, and what they may. In comes a token; out comes what it proves. */
import { z } from "zod";
import { isJsonObject, type JsonObject, rightWords } from "../core/index.ts";
import { type Admission, type Gatekeeper, type Principal, route, type Surface } from "../http/index.ts";

const meSchema = z.object({
  kind: z.enum(["person", "site"]),
  /** Who says so: the hub (`tributary`) or a provider of the team. */
  issuer: z.string(),
  subject: z.string(),
  org: z.string(),
  roles: z.array(z.string()),
  rights: z.array(z.object({ right: z.string(), words: z.string() })),
  /** The organisations whose rows are shown; `null`: all. */
  sees: z.array(z.string()).nullable(),
  /** When the token runs out, ISO 8601. */
  expiresAt: z.string(),
});
export type Me = z.infer<typeof meSchema>;

/** A JSON Schema of what is answered. */
function jsonSchemaOf(type: z.ZodType): JsonObject {
  const schema: unknown = z.toJSONSchema(type);
  return isJsonObject(schema) ? schema : {};
}

const meOf = ({ kind, issuer, subject, org, roles, rights, viewer, expiresAtMs }: Principal): Me => ({
  ...{ kind, issuer, subject, org, roles: [...roles] },
  rights: rights.map((right) => ({ right, words: rightWords(right) })),
  sees: viewer.orgs === null ? null : [...viewer.orgs],
  expiresAt: new Date(expiresAtMs).toISOString(),
});

/** Lets in whoever has a token that the hub believes, whatever they may. */
export const anybodyKnown = (gate: Gatekeeper): Admission<Principal> => ({
  token: "required",
  scopes: [],
  admit: ({ authorization }) => gate.admit(authorization, Date.now()),
});

/** `GET /v1/me`. */
export const meSurface = (gate: Gatekeeper): Surface => ({
  name: "people",
  roots: [],
  routes: [
    route({
      ...{ method: "GET", path: "/v1/me", name: "readMe", words: "Tells who one is to this hub, and what one may." },
      who: anybodyKnown(gate),
      answers: { 200: { words: "Organisation, roles and rights.", schema: jsonSchemaOf(meSchema) } },
      handle: ({ who }) => ({ status: 200, body: meOf(who), headers: { "cache-control": "no-store" } }),
    }),
  ],
});
