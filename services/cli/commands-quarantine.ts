import { userInfo } from "node:os";
import type { Client } from "pg";
import {
  isJsonObject,
  type JsonObject,
  type JsonValue,
  type OriginId,
  QUARANTINE_ENTITY,
  REJECTED,
  RELEASED,
  TributaryError,
} from "../core/index.ts";
import type { NewEvent } from "../field/index.ts";
import type { Fits, Gate } from "../gate/index.ts";
import type { Command, Input } from "./args.ts";
import { refOf } from "./commands-schema.ts";
import { correctParked, parkedNamed } from "./correct-parked.ts";
import { writeAtDesk } from "./desk.ts";
import { viewsOf } from "./folders.ts";
import { table } from "./output.ts";
import { readText } from "./places.ts";
import { fitsOf } from "./projections.ts";
import { withHubGate } from "./registry.ts";
import { changesOf } from "./set-values.ts";
import { withViews } from "./with-views.ts";

interface QuarantineRow {
  readonly origin: string;
  readonly seq: number;
  readonly position: string;
  readonly id: string;
  readonly type: string;
  readonly entityType: string;
  readonly entityId: string;
  /** `type/id`, and `subject@version`. */
  readonly entity: string;
  readonly schema: string;
  readonly site: string;
  readonly actor: string;
  readonly recordedAt: string;
  readonly subject: string;
  readonly version: number;
  readonly code: string;
  readonly reason: string;
  readonly path: string | null;
  readonly raw: string;
  readonly hash: string;
  readonly state: "held" | "released" | "rejected";
  readonly settledAt: string | null;
  readonly settledBy: string | null;
  readonly settledNote: string | null;
}

const STAMP = `'YYYY-MM-DD"T"HH24:MI:SS"Z"'`;
const ROWS = `SELECT origin, seq::float8, position::text, id::text, type, entity_type AS "entityType", entity_id AS "entityId", site, actor,
  to_char(recorded_at AT TIME ZONE 'UTC', ${STAMP}) AS "recordedAt", schema_subject AS subject, schema_version AS version, code, reason, path, raw, hash,
  entity_type || '/' || entity_id AS entity, schema_subject || '@' || schema_version AS schema, state, to_char(settled_at AT TIME ZONE 'UTC', ${STAMP}) AS "settledAt", settled_by AS "settledBy", settled_note AS "settledNote"
  FROM tributary.quarantine`;

const FILTERS = { site: { type: "string" }, code: { type: "string" }, schema: { type: "string" } } as const;
const FILTER_HELP = "--site, --code and --schema (SUBJECT or SUBJECT@VERSION) choose among them.";

async function find(db: Client, { text }: Input, state: string | null): Promise<QuarantineRow[]> {
  const given = text("schema");
  const { subject, version } =
    given === undefined ? { subject: null, version: null } : refOf(given, "--schema SUBJECT or --schema SUBJECT@VERSION");
  const { rows } = await db.query<QuarantineRow>(
    `${ROWS} WHERE ($1::text IS NULL OR site = $1) AND ($2::text IS NULL OR code = $2) AND ($3::text IS NULL OR schema_subject = $3)
       AND ($4::float8 IS NULL OR schema_version = $4) AND ($5::text IS NULL OR state = $5) ORDER BY quarantine.position`,
    [text("site") ?? null, text("code") ?? null, subject, version, state],
  );
  return rows;
}

async function findNamed(db: Client, name: string): Promise<QuarantineRow> {
  const slash = name.lastIndexOf("/");
  const { rows } = await db.query<QuarantineRow>(`${ROWS} WHERE origin = $1 AND seq::text = $2`, [
    name.slice(0, Math.max(slash, 0)),
    name.slice(slash + 1),
  ]);
  if (rows[0] === undefined)
    throw new TributaryError(
      "not-found",
      `${name} is not in quarantine`,
      "`tributary quarantine list` lists what is; names are ORIGIN/SEQ.",
    );
  return rows[0];
}

const nameOf = ({ origin, seq }: QuarantineRow): string => `${origin}/${seq}`;

export const quarantineList: Command = {
  name: "quarantine list",
  summary: "list events that the gate held back",
  usage:
    "tributary quarantine list [--state held|released|rejected|all] [--site NAME] [--code CODE] [--schema SUBJECT[@VERSION]] [--data DIR]",
  help: `They are in the log at their place, with their raw data and the reason; nothing was lost and nothing waits for them. Without --state: those
that are still held. ${FILTER_HELP}`,
  maxPositionals: 0,
  options: { data: { type: "string" }, state: { type: "string" }, ...FILTERS },
  async run(input) {
    const state = input.text("state") ?? "held";
    if (!["held", "released", "rejected", "all"].includes(state))
      throw new TributaryError("usage", `there is no state ${state}`, "There are held, released, rejected and all.");
    const rows = await withViews(input.text("data"), (db) => find(db, input, state === "all" ? null : state));
    input.out.result(rows);
    input.out.line(
      rows.length === 0
        ? state === "held"
          ? "Nothing is quarantined."
          : `Nothing is ${state}.`
        : table(
            ["event", "entity", "type", "schema", "state", "reason"],
            rows.map((r) => [nameOf(r), r.entity, r.type, r.schema, r.state, r.reason]),
          ),
    );
    return 0;
  },
};

export const quarantineShow: Command = {
  name: "quarantine show",
  summary: "show a quarantined event: its raw data, and all that is wrong with it",
  usage: "tributary quarantine show ORIGIN/SEQ [--data DIR]",
  help: `The data are decoded as far as possible, and checked again with the schemas as they are now: what was wrong when it came may be right since.

  tributary quarantine show relief.juba.tablet-1.k3x9/17`,
  maxPositionals: 1,
  options: { data: { type: "string" } },
  async run({ positionals, text, out }) {
    const [name] = positionals;
    if (name === undefined) throw new TributaryError("usage", "the event is missing", `Use: ${quarantineShow.usage}`);
    const row = await withViews(text("data"), (db) => findNamed(db, name));
    return withHubGate(text("data"), async ({ gate }) => {
      const { data, schema, problems } = examine(gate, await viewsFits(gate, text("data")), row);
      out.result({ ...row, data, checkedWith: `${schema.subject}@${schema.version}`, problems });
      out.line(`${row.entity} (${row.type}, schema ${row.schema}) by ${row.actor} at ${row.site}, recorded ${row.recordedAt}`);
      out.line(`  held because: ${row.reason}${row.path === null ? "" : ` (at ${row.path})`}`);
      if (row.state !== "held")
        out.line(
          `  ${row.state} by ${row.settledBy} on ${row.settledAt}${row.settledNote === null ? "" : `: ${row.settledNote}`}`,
        );
      if (data === null) out.line("  its data is no JSON object, and is shown as it came:");
      else {
        const wrong = new Map(problems.map((problem) => [problem.path?.split("/")[1] ?? "", problem.message]));
        out.line("");
        out.line(
          table(
            ["field", "value", "now"],
            Object.entries(data).map(([field, value]) => [field, JSON.stringify(value), wrong.get(field) ?? "fits"]),
            "  ",
          ),
        );
        for (const { path, message } of problems) if (path === null || !(path.split("/")[1]! in data)) out.line(`  ${message}`);
      }
      out.line(`\n  raw: ${row.raw}`);
      if (row.state === "held" && problems.length === 0)
        out.line(`\nIt fits ${schema.subject}@${schema.version} now: \`tributary quarantine release ${nameOf(row)}\`.`);
      return 0;
    });
  },
};

const viewsFits = async (gate: Gate, data: string | undefined): Promise<Fits> => fitsOf(await viewsOf(data), gate);

/** The data as it came, and what is wrong with it by the schemas and views that are known now. */
function examine(
  gate: Gate,
  fits: Fits,
  row: QuarantineRow,
  wanted?: { readonly subject: string; readonly version: number },
  given?: JsonObject | null,
) {
  const data = given ?? parsed(row.raw);
  const own = wanted ?? { subject: row.subject, version: row.version };
  const schema = gate.knows(own) ? own : (gate.newest(own.subject) ?? gate.subjectFor(row.type) ?? own);
  const misplaced = data === null ? null : gate.check(schema, row.type, row.entityType, data);
  const all = data === null ? [] : gate.problems(schema, data);
  const { type, entityType, entityId, actor, origin, recordedAt } = row;
  const head = {
    type,
    entity: { type: entityType, id: entityId },
    schema,
    actor,
    origin: origin as OriginId,
    occurredAt: recordedAt,
  };
  const unfit = misplaced === null && data !== null ? fits(head, data) : null;
  const problems = misplaced !== null ? (all.length > 0 ? all : [misplaced]) : unfit === null ? [] : [unfit];
  return { data, schema: { subject: schema.subject, version: schema.version }, problems };
}

function parsed(raw: string): JsonObject | null {
  try {
    const value: unknown = JSON.parse(raw);
    return isJsonObject(value) ? value : null;
  } catch {
    return null;
  }
}

async function chosen(db: Client, input: Input, usage: string): Promise<QuarantineRow[]> {
  if (input.flag("all")) {
    if (input.positionals.length > 0)
      throw new TributaryError("usage", "--all and names of events do not go together", `Use: ${usage}`);
    return find(db, input, "held");
  }
  if (input.positionals.length === 0) throw new TributaryError("usage", "no event is named", `Use: ${usage}`);
  const rows: QuarantineRow[] = [];
  for (const name of new Set(input.positionals)) {
    const row = await findNamed(db, name);
    if (row.state !== "held")
      throw new TributaryError(
        "usage",
        `${name} was ${row.state} by ${row.settledBy} on ${row.settledAt}`,
        "It is settled for good; write a new event to change the entity.",
      );
    rows.push(row);
  }
  return rows;
}

/** The data with the changes of `--set`. */
function mended(data: JsonObject, changes: readonly string[]): JsonObject {
  const out: Record<string, JsonValue> = { ...data };
  for (const [field, value] of changesOf(changes)) {
    if (value === null) delete out[field];
    else out[field] = value;
  }
  return out;
}

export const quarantineRelease: Command = {
  name: "quarantine release",
  summary: "let quarantined events count, as they are or mended; correct parked entities",
  usage: `tributary quarantine release ORIGIN/SEQ… | --all [--site NAME] [--code CODE] [--schema SUBJECT[@VERSION]]
      [--set FIELD=VALUE]… [--with JSON|@FILE] [--as SUBJECT@VERSION] [--note TEXT] [--actor NAME] [--dry-run] [--data DIR]`,
  help: `Each is checked again with the schemas and views as they are now, after the changes of --set (one or more fields) or --with (all of its data). What fits is
released by an event of the hub's own origin: the views then count it in its own causal place, as written by its author at its time. What still does not
fit stays, and is told. The log keeps the event as it came, and who released it with what. --as checks and reads it with another version.
An entity that is parked, or its event, may be named as \`tributary parked list\` prints it: then --set is written as a correction by the hub, an ordinary event
about the entity that builds on all that is known of it. The views fold the entity anew with it, and it stands in each of them.
${FILTER_HELP}

  tributary quarantine release relief.juba.tablet-1.k3x9/17 --set birth_date=2019-02-28 --note "typing error, asked the family"
  tributary quarantine release --all --code schema-unknown --schema beneficiary@3`,
  options: {
    data: { type: "string" },
    all: { type: "boolean" },
    set: { type: "string", multiple: true },
    with: { type: "string" },
    as: { type: "string" },
    note: { type: "string" },
    actor: { type: "string" },
    "dry-run": { type: "boolean" },
    ...FILTERS,
  },
  async run(input) {
    const { text, out } = input;
    const given = text("with");
    const replacement = given === undefined ? null : parsed(given.startsWith("@") ? readText(given.slice(1)) : given);
    if (given !== undefined && replacement === null)
      throw new TributaryError("input-malformed", "--with is no JSON object", 'Write it like {"phone": "+211912345678"}.');
    const as = /^(.+)@(\d{1,9})$/.exec(text("as") ?? "");
    if (text("as") !== undefined && as === null)
      throw new TributaryError("usage", "--as names no schema", "Write SUBJECT@VERSION.");
    const wanted = as === null ? undefined : { subject: as[1]!, version: Number(as[2]) };
    const parked = input.flag("all") ? [] : await withViews(text("data"), (db) => parkedNamed(db, input.positionals));
    if (parked.length > 0) return correctParked(input, parked, replacement);
    const rows = await withViews(text("data"), (db) => chosen(db, input, quarantineRelease.usage));
    return withHubGate(text("data"), async ({ gate, dir, state }) => {
      const events: NewEvent[] = [];
      const held: { event: string; problem: string }[] = [];
      const fits = await viewsFits(gate, text("data"));
      for (const row of rows) {
        const base = replacement ?? parsed(row.raw);
        const data = base === null ? null : mended(base, input.list("set"));
        const { schema, problems } = examine(gate, fits, row, wanted, data);
        if (data === null || problems.length > 0)
          held.push({
            event: nameOf(row),
            problem:
              data === null ? "its data is no JSON object: give --with" : problems.map(({ message }) => message).join("; "),
          });
        else events.push(releaseOf(row, schema, data, text("note"), text("actor")));
      }
      if (!input.flag("dry-run") && events.length > 0) {
        out.progress(`Releasing ${events.length} …`);
        const { sync } = await writeAtDesk(dir, state, gate, events);
        const [refused] = sync.quarantined;
        if (refused !== undefined)
          throw new TributaryError(
            "event-invalid",
            `the hub refused a release: ${refused.reason}`,
            "See `tributary quarantine list`.",
          );
      }
      if (process.stderr.isTTY) out.progress("");
      out.result({ released: events.map(({ entity }) => entity.id), held, dryRun: input.flag("dry-run") });
      out.line(`${input.flag("dry-run") ? "Would release" : "Released"} ${events.length}; ${held.length} stay in quarantine.`);
      for (const { event, problem } of held) out.line(`  ${event}: ${problem}`);
      return held.length > 0 && events.length === 0 ? 3 : 0;
    });
  },
};

const releaseOf = (
  row: QuarantineRow,
  schema: { readonly subject: string; readonly version: number },
  data: JsonObject,
  note: string | undefined,
  actor = userInfo().username,
): NewEvent => ({
  type: RELEASED,
  entity: { type: QUARANTINE_ENTITY, id: nameOf(row) },
  actor,
  causationId: row.id,
  data: {
    origin: row.origin,
    seq: row.seq,
    hash: row.hash,
    type: row.type,
    entity: { type: row.entityType, id: row.entityId },
    schema,
    data,
    ...(note === undefined ? {} : { note }),
  },
});

export const quarantineReject: Command = {
  name: "quarantine reject",
  summary: "turn quarantined events down for good, with a reason",
  usage:
    "tributary quarantine reject ORIGIN/SEQ… | --all [--site NAME] [--code CODE] [--schema SUBJECT[@VERSION]] --reason TEXT [--actor NAME] [--data DIR]",
  help: `They stay in the log and in the audit, with the reason and who gave it; they never count for a view. ${FILTER_HELP}

  tributary quarantine reject relief.juba.tablet-1.k3x9/18 --reason "a test by the trainer"`,
  options: {
    data: { type: "string" },
    all: { type: "boolean" },
    reason: { type: "string" },
    actor: { type: "string" },
    ...FILTERS,
  },
  async run(input) {
    const { text, out } = input;
    const reason = input.need("reason", "why they are turned down");
    const rows = await withViews(text("data"), (db) => chosen(db, input, quarantineReject.usage));
    return withHubGate(text("data"), async ({ gate, dir, state }) => {
      const events = rows.map(
        (row): NewEvent => ({
          type: REJECTED,
          entity: { type: QUARANTINE_ENTITY, id: nameOf(row) },
          actor: text("actor") ?? userInfo().username,
          causationId: row.id,
          data: { origin: row.origin, seq: row.seq, hash: row.hash, reason },
        }),
      );
      if (events.length > 0) await writeAtDesk(dir, state, gate, events);
      out.result({ rejected: rows.map(nameOf), reason });
      out.line(`Rejected ${events.length}.`);
      return 0;
    });
  },
};

interface Rate {
  readonly site: string;
  readonly schema: string;
  readonly events: number;
  readonly quarantined: number;
  readonly held: number;
  readonly percent: number;
}

export const quarantineRates: Command = {
  name: "quarantine rates",
  summary: "show how much of each site's and schema's data is held back",
  usage: "tributary quarantine rates [--days N] [--data DIR]",
  help: "A site or form whose rate is high needs somebody to call: a version of the app, or a question that people misunderstand. --days counts what was recorded since.",
  maxPositionals: 0,
  options: { data: { type: "string" }, days: { type: "string" } },
  async run({ text, number, out }) {
    const days = text("days") === undefined ? null : number("days", 0);
    const { rows } = await withViews(text("data"), (db) =>
      db.query<Rate>(
        `SELECT a.site, a.schema_subject || '@' || a.schema_version AS schema, count(*)::float8 AS events,
           count(a.quarantine_code)::float8 AS quarantined, count(*) FILTER (WHERE q.state = 'held')::float8 AS held,
           round(100.0 * count(a.quarantine_code) / count(*), 1)::float8 AS percent
         FROM tributary.audit a LEFT JOIN tributary.quarantine q ON q.origin = a.origin AND q.seq = a.seq
         WHERE $1::integer IS NULL OR a.recorded_at > now() - make_interval(days => $1)
         GROUP BY 1, 2 ORDER BY quarantined DESC, 1, 2`,
        [days],
      ),
    );
    out.result(rows);
    out.line(
      table(
        ["site", "schema", "events", "quarantined", "of these held", "%"],
        rows.map((r) => [r.site, r.schema, r.events, r.quarantined, r.held, r.percent]),
      ),
    );
    return 0;
  },
};
