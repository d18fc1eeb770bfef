import { statSync } from "node:fs";
import { userInfo } from "node:os";
import { basename } from "node:path";
import { TributaryError } from "../core/index.ts";
import {
  DEFAULT_LEVEL,
  isLevel,
  LEVELS,
  MODES,
  type Reference,
  type Registry,
  referencesIn,
  type SchemaText,
  schemaFile,
} from "../gate/index.ts";
import { loadSchemas } from "../gate/node.ts";
import { SCOPE_SCHEMAS, SCOPE_SCHEMAS_READ } from "../http/index.ts";
import { type Command, DAY_COUNT, type Input } from "./args.ts";
import { readText } from "./files.ts";
import { counted, table } from "./output.ts";
import { hubDir } from "./paths.ts";
import { findingLines, registerFolder, withHubGate, withHubRegistry } from "./registry.ts";
import { readState } from "./state.ts";
import { issueHubToken } from "./tokens.ts";

const DATA = { data: { type: "string" } } as const;
const DEFAULT_TOKEN_DAYS = 30;
const actorOf = ({ text }: Input): string => text("actor") ?? userInfo().username;

/** Splits `beneficiary@2`. */
export function refOf(given: string | undefined, usage: string): { readonly subject: string; readonly version: number | null } {
  const parts = /^([^@]+)(?:@([1-9]\d{0,8}))?$/.exec(given ?? "");
  if (parts === null)
    throw new TributaryError(
      "usage",
      given === undefined ? "the subject is missing" : `${given} is neither SUBJECT nor SUBJECT@VERSION`,
      `Use: ${usage}`,
    );
  return { subject: parts[1]!, version: parts[2] === undefined ? null : Number(parts[2]) };
}

/** A registered version by its name, the newest where no version is named. Throws `not-found`. */
function need(registry: Registry, { subject, version }: ReturnType<typeof refOf>) {
  const versions = registry.registered(subject, { withDeleted: true });
  const found = version === null ? versions.at(-1) : versions[version - 1];
  if (found === undefined)
    throw new TributaryError(
      "not-found",
      versions.length === 0 ? `there is no subject ${subject}` : `${subject} has ${counted(versions.length, "version")}`,
      "`tributary schema list` shows them.",
    );
  return found;
}

export const schemaList: Command = {
  name: "schema list",
  summary: "list the registered schemas",
  usage: "tributary schema list [--data DIR]",
  help: "Lists each subject with its versions, what its events are about, and how it may change.",
  maxPositionals: 0,
  options: DATA,
  run: ({ text, out }) =>
    withHubGate(text("data"), async ({ registry }) => {
      const rows = registry.subjects().map((subject) => {
        const { schema, id } = registry.registered(subject, { withDeleted: true }).at(-1)!;
        const { entity, events, personal, title } = schema.annotations;
        return {
          subject,
          versions: schema.version,
          kind: schema.kind,
          id,
          level: registry.level(subject),
          authority: registry.authority(subject),
          entity,
          events,
          personal: personal ?? [],
          title: title ?? null,
        };
      });
      out.result({ level: registry.level(null), subjects: rows, proposals: registry.proposals().length });
      out.line(
        table(
          ["subject", "versions", "kind", "entity", "events", "may change"],
          rows.map((r) => [r.subject, r.versions, r.kind, r.entity, r.events.join(", "), r.level]),
        ),
      );
      const waiting = registry.proposals().length;
      if (waiting > 0) out.line(`\n${waiting} proposed by devices: \`tributary schema proposals\`.`);
      return 0;
    }),
};

export const schemaShow: Command = {
  name: "schema show",
  summary: "show a schema's text, and who registered it when",
  usage: "tributary schema show SUBJECT[@VERSION] [--data DIR]",
  help: "Without a version: the newest.\n\n  tributary schema show beneficiary@1",
  maxPositionals: 1,
  options: DATA,
  run: ({ positionals, text, out }) =>
    withHubGate(text("data"), async ({ registry }) => {
      const { schema, id, actor, registeredAtMs, position, deleted } = need(registry, refOf(positionals[0], schemaShow.usage));
      const { subject, version, kind, fingerprint, crc64, references, annotations } = schema;
      const registeredAt = new Date(registeredAtMs).toISOString();
      out.result({
        subject,
        version,
        kind,
        id,
        fingerprint,
        crc64: crc64 ?? null,
        references,
        annotations,
        actor,
        registeredAt,
        position,
        deleted,
        schema: JSON.parse(schema.text),
      });
      out.line(
        `${subject} version ${version} (${kind}, id ${id}), registered by ${actor} on ${registeredAt} at ${position}${deleted ? ", hidden since" : ""}`,
      );
      out.line(`  SHA-256 ${fingerprint}${crc64 === undefined ? "" : `   CRC-64-AVRO ${crc64}`}`);
      for (const reference of references) out.line(`  refers to ${reference.subject}@${reference.version} as ${reference.name}`);
      out.line(`\n${JSON.stringify(JSON.parse(schema.text), null, 2)}`);
      return 0;
    }),
};

/** A schema file: its kind from its name, its references from its text. */
export function schemaText(file: string): SchemaText & { readonly version: number | null } {
  const text = readText(file);
  const name = basename(file);
  const numbered = /^v\d/.test(name) ? schemaFile(file, name) : null;
  const kind = numbered?.kind ?? (name.endsWith(".avsc") ? "avro" : "json");
  return { kind, text, references: referencesIn(text) as readonly Reference[], version: numbered?.version ?? null };
}

export const schemaRegister: Command = {
  name: "schema register",
  summary: "register a schema, or all of a folder",
  usage: "tributary schema register SUBJECT FILE | FOLDER [--actor NAME] [--data DIR]",
  help: `A FILE becomes the subject's next version (named v3.schema.json: version 3 and no other); .avsc is Avro, .json JSON Schema 2020-12. From a FOLDER like
schemas/ the hub registers what it lacks. What would break a site that still has an earlier version is refused, with an example.
The same text again changes nothing. The hub registers schemas/ by itself when it starts.

  tributary schema register beneficiary schemas/beneficiary/v3.schema.json
  tributary schema register schemas/`,
  maxPositionals: 2,
  options: { ...DATA, actor: { type: "string" } },
  async run(input) {
    const { positionals, text, out } = input;
    const [first, file] = positionals;
    if (first === undefined)
      throw new TributaryError("usage", "a subject and its file, or a folder, is missing", `Use: ${schemaRegister.usage}`);
    if (file === undefined && !isFolder(first))
      throw new TributaryError("usage", `${first} is not a folder`, `Use: ${schemaRegister.usage}`);
    return withHubRegistry(text("data"), async (registry) => {
      if (file === undefined) {
        const added = await registerFolder(registry, loadSchemas(first), actorOf(input), (subject, authority) =>
          out.line(`${subject} is a proposal to the hub of ${authority}, which has the say over it.`),
        );
        out.result({ registered: added });
        out.line(added.length === 0 ? "All of it is registered already." : `Registered ${added.join(", ")}.`);
        return 0;
      }
      const { version, ...given } = schemaText(file);
      const outcome = await registry.register(first, given, { actor: actorOf(input), ...(version === null ? {} : { version }) });
      if (outcome.kind === "incompatible") {
        out.result({ registered: null, level: outcome.level, findings: outcome.findings });
        out.line(`${first} was not changed: under ${outcome.level}, this cannot become its next version.\n`);
        for (const finding of outcome.findings) out.line(`${findingLines(finding).join("\n")}\n`);
        return 3;
      }
      if (outcome.kind === "proposed") return proposed(out, first, outcome.authority);
      const { schema, id } = outcome.version;
      out.result({ registered: `${first}@${schema.version}`, id, isNew: outcome.isNew });
      out.line(
        outcome.isNew
          ? `Registered ${first} version ${schema.version} (id ${id}).`
          : `It is registered already, as ${first} version ${schema.version} (id ${id}).`,
      );
      return 0;
    });
  },
};

/** Another hub has the say: says so, and where it goes from there. */
function proposed(out: Input["out"], subject: string, authority: string): number {
  out.result({ registered: null, proposed: subject, authority });
  out.line(
    `The hub of ${authority} has the say over ${subject}: this is kept as a proposal to it, and counts once that hub registers it.`,
  );
  return 0;
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

export const schemaLevel: Command = {
  name: "schema level",
  summary: "show or set how far a new version must fit the earlier ones",
  usage: `tributary schema level [SUBJECT] [${LEVELS.join("|")}|default] [--actor NAME] [--data DIR]`,
  help: `Without a subject: the default of all subjects without their own (at first ${DEFAULT_LEVEL}, because sites are away for long). BACKWARD: new readers read old data.
FORWARD: old readers read new data. FULL: both. _TRANSITIVE: with every earlier version, not only the last.

  tributary schema level beneficiary FULL_TRANSITIVE`,
  maxPositionals: 2,
  options: { ...DATA, actor: { type: "string" } },
  run: (input) =>
    setting(input, schemaLevel.usage, LEVELS, {
      read: (registry, subject) => registry.level(subject),
      write: (registry, subject, value) => registry.setLevel(subject, isLevel(value) ? value : null, actorOf(input)),
    }),
};

export const schemaMode: Command = {
  name: "schema mode",
  summary: "show or set whether new versions are taken",
  usage: `tributary schema mode [SUBJECT] [${MODES.join("|")}|default] [--actor NAME] [--data DIR]`,
  help: "Without a subject: the default of all subjects without their own.",
  maxPositionals: 2,
  options: { ...DATA, actor: { type: "string" } },
  run: (input) =>
    setting(input, schemaMode.usage, MODES, {
      read: (registry, subject) => registry.mode(subject),
      write: (registry, subject, value) =>
        registry.setMode(subject, MODES.find((mode) => mode === value) ?? null, actorOf(input)),
    }),
};

/** Shows or sets one of the settings that exist for all and for each subject. */
async function setting(
  { positionals, text, out }: Input,
  usage: string,
  values: readonly string[],
  how: {
    read(registry: Registry, subject: string | null): string;
    write(registry: Registry, subject: string | null, value: string | null): Promise<void>;
  },
): Promise<number> {
  const isValue = (given: string | undefined): given is string =>
    given !== undefined && (values.includes(given) || given === "default");
  const [first, second] = positionals;
  const subject = isValue(first) || first === undefined ? null : first;
  const value = isValue(first) ? first : second;
  if (value !== undefined && !isValue(value))
    throw new TributaryError("usage", `${value} is not one of ${values.join(", ")}`, `Use: ${usage}`);
  return withHubRegistry(text("data"), async (registry) => {
    if (subject !== null) need(registry, { subject, version: null });
    if (value !== undefined) await how.write(registry, subject, value === "default" ? null : value);
    const now = how.read(registry, subject);
    out.result({ subject, value: now });
    out.line(`${subject ?? "Subjects without a setting of their own"}: ${now}`);
    return 0;
  });
}

export const schemaProposals: Command = {
  name: "schema proposals",
  summary: "list schemas that devices write with and nobody has registered; take or dismiss one",
  usage: "tributary schema proposals [--accept SUBJECT@VERSION | --dismiss SUBJECT@VERSION] [--actor NAME] [--data DIR]",
  help: `An app may come with a newer schema than the hub has. Its events are kept in quarantine and the schema is listed here. --accept registers it, by the
same rules as any other; then \`tributary quarantine release --all --code schema-unknown --schema SUBJECT@VERSION\` lets the events count.`,
  maxPositionals: 0,
  options: { ...DATA, accept: { type: "string" }, dismiss: { type: "string" }, actor: { type: "string" } },
  run: (input) =>
    withHubRegistry(input.text("data"), async (registry) => {
      const { out } = input;
      const named = input.text("accept") ?? input.text("dismiss");
      if (named === undefined) {
        const rows = registry.proposals().map(({ subject, version, kind, by, org, proposedAtMs, fingerprint, text }) => ({
          subject,
          version,
          kind,
          by,
          hub: org ?? null,
          proposedAt: new Date(proposedAtMs).toISOString(),
          fingerprint,
          schema: JSON.parse(text) as unknown,
        }));
        out.result(rows);
        out.line(
          rows.length === 0
            ? "Nothing is proposed."
            : table(
                ["schema", "kind", "by", "since", "fingerprint"],
                rows.map((r) => [
                  `${r.subject}@${r.version}`,
                  r.kind,
                  r.hub === null ? r.by : `${r.by}, hub of ${r.hub}`,
                  r.proposedAt,
                  r.fingerprint.slice(0, 12),
                ]),
              ),
        );
        return 0;
      }
      const { subject, version } = refOf(named, schemaProposals.usage);
      const proposal = registry
        .proposals()
        .find((each) => each.subject === subject && (version === null || each.version === version));
      if (proposal === undefined)
        throw new TributaryError(
          "not-found",
          `no device has proposed ${named}`,
          "`tributary schema proposals` lists what they have.",
        );
      if (input.text("accept") === undefined) {
        await registry.dismiss(subject, proposal.version, proposal.fingerprint, actorOf(input));
        out.result({ dismissed: `${subject}@${proposal.version}` });
        out.line(`${subject}@${proposal.version} is off the list.`);
        return 0;
      }
      const { kind, text, references } = proposal;
      const outcome = await registry.register(
        subject,
        { kind, text, references },
        { actor: actorOf(input), version: proposal.version },
      );
      if (outcome.kind === "incompatible") {
        out.result({ registered: null, findings: outcome.findings });
        out.line(`${subject} was not changed:\n`);
        for (const finding of outcome.findings) out.line(`${findingLines(finding).join("\n")}\n`);
        return 3;
      }
      if (outcome.kind === "proposed") return proposed(out, subject, outcome.authority);
      out.result({ registered: `${subject}@${outcome.version.schema.version}` });
      out.line(`Registered ${subject} version ${outcome.version.schema.version}, as ${proposal.by} wrote it.`);
      return 0;
    }),
};

export const schemaToken: Command = {
  name: "schema token",
  summary: "issue a token with which a tool may register schemas over HTTP",
  usage: "tributary schema token [--read] [--days N] [--data DIR]",
  help: `The hub's HTTP door speaks the routes of Confluent Schema Registry (docs/schemas.md). A tool sends the token as "Authorization: Bearer …", or as the
password of basic credentials with any name. With --read it may only read; so may the sites' own tokens.

  curl -u tools:$TOKEN http://127.0.0.1:8080/subjects`,
  maxPositionals: 0,
  options: { ...DATA, days: { type: "string" }, read: { type: "boolean" } },
  async run({ text, flag, number, out }) {
    const dir = hubDir(text("data"));
    const days = number("days", DEFAULT_TOKEN_DAYS, DAY_COUNT);
    const { org, httpUrl } = readState(dir);
    const token = await issueHubToken(dir, {
      org,
      site: "hub",
      device: "tools",
      lifetimeS: days * 86_400,
      scopes: [flag("read") ? SCOPE_SCHEMAS_READ : SCOPE_SCHEMAS],
    });
    out.result({ token, url: httpUrl, days });
    out.line(`Valid for ${counted(days, "day")}, at ${httpUrl}:\n\n${token}`);
    return 0;
  },
};
