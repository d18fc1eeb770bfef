/**
 * Events about schemas. What a hub's registry holds are facts of its log, which do not leave it. Each is also an event of the hub's own, from which other hubs and devices
 * learn of it.
 */
import { z } from "zod";
import { MAX_SCHEMA_VERSION } from "./event.ts";
import type { JsonObject } from "./json.ts";

/** The entity that a subject is: `schema/<subject>`. */
export const SCHEMA_ENTITY = "schema";
/** A version of a subject. */
export const SCHEMA_REGISTERED = "schema.registered";
/** A version that a hub would like a subject to have whose authority is another hub. */
export const SCHEMA_PROPOSED = "schema.proposed";
/** What was set for a subject: its level, its mode, whether its texts are normalised, which versions are hidden. */
export const SCHEMA_CHANGED = "schema.changed";

/** The forms of these events. */
export const REGISTRATION_FORM = { subject: "schema-registration", version: 1 } as const;
export const CHANGE_FORM = { subject: "schema-change", version: 1 } as const;

/** The device whose origins hold a hub's events about schemas. All processes of the hub append to them, and nobody else. */
export const REGISTRY_DEVICE = "registry";

/** At most so many characters of a schema's text: no registry takes more bytes. */
export const MAX_SCHEMA_TEXT = 256 * 1024;
const name = z.string().min(1).max(200);
const version = z.int().min(1).max(MAX_SCHEMA_VERSION);

/** What `schema.registered` and `schema.proposed` say. */
const registrationSchema = z.object({
  subject: name,
  version,
  kind: z.enum(["avro", "json"]),
  fingerprint: z.string().max(64),
  text: z.string().max(MAX_SCHEMA_TEXT),
  references: z.array(z.object({ name, subject: name, version })).max(100),
  /** The organisation whose hub has the say over the subject; `null`: a form that comes with the program, which each hub registers for itself. */
  authority: z.string().max(40).nullable(),
});
export type SchemaRegistration = z.infer<typeof registrationSchema>;

/** Reads the data of a `schema.registered` or `schema.proposed`; `null`: they are not such data. */
export const schemaRegistrationOf = (data: JsonObject): SchemaRegistration | null =>
  registrationSchema.safeParse(data).data ?? null;
