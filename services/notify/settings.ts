import { existsSync, readFileSync } from "node:fs";
import { z } from "zod";
import { messageOf, TributaryError } from "../core/index.ts";

/** Each target under delivery holds a database connection of its own. */
const MAX_TARGETS = 16;
const MAX_RECIPIENTS = 20;
/** Shorter ones can be guessed from one signed message. */
const MIN_SECRET_CHARS = 16;
const MIN_DIGEST_MS = 60_000;
const MAX_DIGEST_MS = 7 * 86_400_000;
const UNIT_MS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

export interface WebhookSettings {
  readonly url: string;
  readonly secret: string;
}

export interface EmailSettings {
  readonly smtp: URL;
  /** Whether `smtp:` may go on without TLS where the server offers none. Never with a password. */
  readonly plaintext: boolean;
  readonly from: string;
  readonly to: readonly string[];
}

/** Where notifications go, and how. */
export interface Target {
  readonly name: string;
  readonly way:
    | { readonly kind: "webhook"; readonly webhook: WebhookSettings }
    | { readonly kind: "email"; readonly email: EmailSettings };
  /** The period that one message covers; `null`: each notice is sent at once. */
  readonly digestMs: number | null;
  /** Whether field values, which are personal data, may leave the hub this way. */
  readonly includeValues: boolean;
}

export type Settings = ReadonlyMap<string, Target>;
export type Environment = Readonly<Record<string, string | undefined>>;

/** A hub that tells nobody. */
export const NO_TARGETS: Settings = new Map();

// No line end and no other control character can stand in an address, so none can end a header.
const ADDRESS =
  /^(?:[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}<>@,;:"\\]+ <[^\p{C}\p{Z}<>@,;:"\\]+@[^\p{C}\p{Z}<>@,;:"\\]+>|[^\p{C}\p{Z}<>@,;:"\\]+@[^\p{C}\p{Z}<>@,;:"\\]+)$/u;
const address = z.string().regex(ADDRESS, "is not an address: write name@host or Name <name@host>");

/** The text as it is written, or the value of the environment variable after `env:`. */
const secretFrom = (environment: Environment) =>
  z.string().transform((text, context) => {
    if (!text.startsWith("env:")) return text;
    const value = environment[text.slice(4)];
    if (value !== undefined && value !== "") return value;
    context.addIssue({ code: "custom", message: `takes the environment variable ${text.slice(4)}, which is not set` });
    return z.NEVER;
  });

const parsedUrl = (text: string, protocols: readonly string[], how: string, context: z.core.$RefinementCtx): URL => {
  const url = URL.parse(text);
  if (url !== null && protocols.includes(url.protocol) && url.hostname !== "") return url;
  context.addIssue({ code: "custom", message: `is not an address: write ${how}` });
  return z.NEVER;
};

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

const webhookFrom = (environment: Environment) =>
  z.strictObject({
    url: secretFrom(environment).transform((text, context) => {
      const url = parsedUrl(text, ["https:", "http:"], "https://host/path", context);
      if (url !== z.NEVER && url.username + url.password !== "")
        context.addIssue({ code: "custom", message: "holds a user or password: the signature says who sends, leave them out" });
      return String(url);
    }),
    secret: secretFrom(environment).pipe(z.string().min(MIN_SECRET_CHARS, `is shorter than ${MIN_SECRET_CHARS} characters`)),
  });

const emailFrom = (environment: Environment) =>
  z
    .strictObject({
      smtp: secretFrom(environment).transform((text, context) => {
        const how = "smtp://user:password@host:587 or smtps://user:password@host, with %40 for an @ in the password";
        const url = parsedUrl(text, ["smtp:", "smtps:"], how, context);
        if (url !== z.NEVER && !isDecodable(url.username + url.password))
          context.addIssue({ code: "custom", message: `holds a % that escapes nothing: write ${how}` });
        return url;
      }),
      from: address,
      to: z.array(address).min(1, "names nobody").max(MAX_RECIPIENTS, `names more than ${MAX_RECIPIENTS}`),
      plaintext: z.boolean().default(false),
    })
    .refine(
      ({ smtp, plaintext }) => !plaintext || smtp.password === "",
      "would send a password in the clear: leave out `plaintext`, or the password",
    );

const digest = z.string().transform((text, context) => {
  const [, count, unit] = /^(\d{1,5})([mhd])$/.exec(text) ?? [];
  const ms = Number(count) * (UNIT_MS[unit ?? ""] ?? Number.NaN);
  if (ms >= MIN_DIGEST_MS && ms <= MAX_DIGEST_MS) return ms;
  context.addIssue({ code: "custom", message: 'is not a period: write "15m", "1h" or "24h", from 1m to 7d' });
  return z.NEVER;
});

const targetFrom = (environment: Environment) =>
  z
    .strictObject({
      webhook: webhookFrom(environment).optional(),
      email: emailFrom(environment).optional(),
      digest: digest.optional(),
      includeValues: z.boolean().optional(),
    })
    .refine(({ webhook, email }) => (webhook === undefined) !== (email === undefined), "needs one of webhook and email");

const settingsFrom = (environment: Environment) =>
  z.strictObject({
    targets: z
      .record(
        z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, "is not a name: use small letters, digits and hyphens"),
        targetFrom(environment),
      )
      .refine((targets) => Object.keys(targets).length <= MAX_TARGETS, `names more than ${MAX_TARGETS} targets`),
  });

/**
 * Checks a hub's notification settings; throws `input-malformed` naming the member and what is wrong with it.
 *
 *     parseSettings({ targets: { desk: { webhook: { url: "https://desk.example.org/hook", secret: "env:DESK_SECRET" } } } })
 */
export function parseSettings(value: unknown, environment: Environment = {}, source = "notifications.json"): Settings {
  const { data, error } = settingsFrom(environment).safeParse(value);
  if (error !== undefined)
    throw new TributaryError(
      "input-malformed",
      `${source}: ${error.issues.map(told).join("; ")}`,
      "Correct these members; docs/notifications.md shows each.",
    );
  return new Map(Object.entries(data.targets).map(([name, given]) => [name, targetOf(name, given)]));
}

function targetOf(name: string, given: z.output<ReturnType<typeof targetFrom>>): Target {
  const { webhook, email, digest: digestMs = null, includeValues = false } = given;
  return {
    name,
    way: webhook === undefined ? { kind: "email", email: email! } : { kind: "webhook", webhook },
    digestMs,
    includeValues,
  };
}

/** A kind of value, with its article. */
const kind = (expected: string): string => {
  const name = expected === "record" ? "object" : expected;
  return `${/^[aeiou]/.test(name) ? "an" : "a"} ${name}`;
};

/** `targets.desk.webhook.secret is shorter than 16 characters`: an issue as a sentence, without the value. */
function told(issue: z.core.$ZodIssue): string {
  const path = issue.path.join(".");
  const where = path === "" ? "the file" : path;
  if (issue.code === "unrecognized_keys")
    return issue.keys.map((key) => `${path === "" ? "" : `${path}.`}${key} is not a known member`).join("; ");
  if (issue.code === "invalid_key") return `${where} ${issue.issues[0]?.message ?? "is not a name"}`;
  // The input itself is not in the issue, so that no secret can end up in a message. Only the issue's words say that a value is missing.
  if (issue.code === "invalid_type")
    return `${where} is ${issue.message.endsWith("undefined") ? "missing" : `not ${kind(issue.expected)}`}`;
  return `${where} ${issue.message}`;
}

/** Reads the settings from a file. A hub without the file tells nobody. Throws `input-malformed`. */
export function readSettings(file: string, environment: Environment): Settings {
  if (!existsSync(file)) return NO_TARGETS;
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new TributaryError("input-malformed", `${file} cannot be read: ${messageOf(error)}`, "Write it as one JSON object.", {
      cause: error,
    });
  }
  return parseSettings(value, environment, file);
}
