/**
 * `people.json`: what a team says about people. In comes the file; out come the matrix of roles and the providers whose word about people is believed. A file that
 * cannot be read changes nothing: what was read last holds, and where nothing was read yet, no person is let in.
 */
import { readFileSync, statSync } from "node:fs";
import { z } from "zod";
import { DEFAULT_MATRIX, isName, isPersonRole, type Matrix, matrixOf, messageOf, ROLES, TributaryError } from "../core/index.ts";
import { ALGORITHMS, jwksSchema, jwksUriProblem } from "./jwks.ts";
import { ISSUER } from "./tokens.ts";

const MAX_BYTES = 1_048_576;
const MAX_PROVIDERS = 16;
const MAX_ORGS = 100;
/** How often the file is looked at: within this time every process of the hub has what it says. */
const LOOK_MS = 1_000;

const text = z.string().min(1).max(400);
/** A claim by its name, or the way to it through objects. */
const claim = z.union([text, z.array(text).min(1).max(5)]);
export type ClaimPath = z.infer<typeof claim>;

const role = z.string().refine(isPersonRole, {
  error: ({ input }) => `${JSON.stringify(input)} is not a role: roles are ${ROLES.join(", ")}`,
});

const providerSchema = z
  .strictObject({
    /** Exactly as its tokens have it in `iss`. */
    issuer: text.refine((issuer) => issuer !== ISSUER, `is the hub itself: a provider has another name than ${ISSUER}`),
    /** What its tokens for this hub have in `aud`. */
    audience: text,
    jwksUri: z
      .string()
      .superRefine((uri, context) => {
        const problem = jwksUriProblem(uri);
        if (problem !== null) context.addIssue({ code: "custom", message: problem });
      })
      .optional(),
    jwks: jwksSchema.optional(),
    /** The organisations whose people it may speak for. A token that names another is refused. */
    orgs: z.array(z.string().refine(isName, "is not an organisation's name")).min(1).max(MAX_ORGS),
    /** Where the organisation stands; absent: all of its people belong to the one organisation in `orgs`. */
    orgClaim: claim.optional(),
    rolesClaim: claim.default("roles"),
    subjectClaim: claim.default("sub"),
    /** Its names of roles, and the roles that they are here; absent: it uses our names. Names that are not listed give nothing. */
    roles: z.record(text, z.array(role).max(ROLES.length)).optional(),
    algorithms: z
      .array(z.enum(ALGORITHMS))
      .min(1)
      .default([...ALGORITHMS]),
    /** What its tokens may say they are (`typ`); `""`: nothing. Not among them: tokens that it makes for other ends, such as `logout+jwt`. */
    types: z.array(z.string().max(100)).min(1).default(["JWT", "at+jwt"]),
  })
  .refine(({ jwks, jwksUri }) => (jwks === undefined) !== (jwksUri === undefined), "names its keys by either jwksUri or jwks")
  .refine(
    ({ orgs, orgClaim }) => orgClaim !== undefined || orgs.length === 1,
    "has no orgClaim, so orgs can name one organisation only",
  );

/** Somebody whose tokens say who a person is. */
export type Provider = z.infer<typeof providerSchema>;

const peopleSchema = z.strictObject({
  /** By role, the rights that it has in place of those by default; see `matrixOf`. */
  roles: z.unknown().optional(),
  providers: z
    .array(providerSchema)
    .max(MAX_PROVIDERS)
    .refine((all) => new Set(all.map(({ issuer }) => issuer)).size === all.length, "name an issuer twice")
    .default([]),
});

export interface PeopleSettings {
  readonly matrix: Matrix;
  readonly providers: readonly Provider[];
}

/** A hub whose team has said nothing: the default matrix, and no provider. */
export const NO_PEOPLE: PeopleSettings = { matrix: DEFAULT_MATRIX, providers: [] };

/** What a file's text says. Throws `input-malformed` with everything that is wrong. `file`: how it is called. */
export function parsePeople(json: string, file: string): PeopleSettings {
  let raw: unknown;
  try {
    raw = JSON.parse(json);
  } catch (error) {
    throw malformed(file, `it is not JSON: ${messageOf(error)}`, error);
  }
  const parsed = peopleSchema.safeParse(raw);
  if (!parsed.success) throw malformed(file, problemsOf(parsed.error), parsed.error);
  const { roles, providers } = parsed.data;
  try {
    return { matrix: matrixOf(roles), providers };
  } catch (error) {
    throw malformed(file, messageOf(error), error);
  }
}

const malformed = (file: string, problem: string, cause: unknown): TributaryError =>
  new TributaryError("input-malformed", `${file}: ${problem}`, "Correct it. docs/rights.md says what it may hold.", { cause });

const problemsOf = ({ issues }: z.ZodError): string =>
  issues.map(({ path, message }) => `${path.length === 0 ? "" : `${path.join(".")}: `}${message}`).join("; ");

/** Reads the file. Where there is none, the team has said nothing. Throws `input-malformed`. */
export function readPeople(file: string): PeopleSettings {
  const stat = statSync(file, { throwIfNoEntry: false });
  if (stat === undefined) return NO_PEOPLE;
  if (stat.size > MAX_BYTES) throw malformed(file, `it has more than ${MAX_BYTES} bytes`, null);
  let json: string;
  try {
    json = readFileSync(file, "utf8");
  } catch (error) {
    throw malformed(file, `it cannot be read: ${messageOf(error)}`, error);
  }
  return parsePeople(json, file);
}

/** What is said about people at present. */
export interface People {
  /** The same object as long as nothing has changed. Throws `backend-failed` while nothing could be read yet. */
  settings(): PeopleSettings;
}

/** Settings that never change. */
export const fixedPeople = (settings: PeopleSettings): People => ({ settings: () => settings });

/**
 * Follows the file when it changes. One that is damaged, or gone, changes nothing, since that could give rights that the team has taken away; `say` tells it once. `now`:
 * milliseconds of a clock that is not set.
 */
export function followPeople(
  file: string,
  { say = () => {}, now = () => performance.now() }: { say?: (event: Record<string, unknown>) => void; now?: () => number } = {},
): People {
  let known: PeopleSettings | null = null;
  let seen: string | null = null;
  let lookedAtMs = -Infinity;
  let told = "";
  const tell = (message: string): void => {
    if (message !== told) say({ event: "people-unreadable", message });
    told = message;
  };
  const lookAgain = (): void => {
    try {
      const stat = statSync(file, { throwIfNoEntry: false });
      const mark = stat === undefined ? "" : `${stat.mtimeMs}/${stat.ino}/${stat.size}`;
      if (mark === seen) return;
      if (mark === "" && known !== null) {
        tell(`${file} is gone; what it said last holds. Write {} into it to say nothing.`);
        return;
      }
      known = readPeople(file);
      seen = mark;
      told = "";
      if (mark !== "") say({ event: "people-read", providers: known.providers.map(({ issuer }) => issuer) });
    } catch (error) {
      seen = null;
      tell(messageOf(error));
    }
  };
  return {
    settings() {
      if (now() - lookedAtMs >= LOOK_MS) {
        lookedAtMs = now();
        lookAgain();
      }
      if (known !== null) return known;
      throw new TributaryError(
        "backend-failed",
        "the hub cannot read who may do what, so no person is let in",
        "The hub's log says what is wrong with its people.json.",
      );
    },
  };
}
