/**
 * Tries events on forms and views, without a hub: for a team's own tests. In come events as sites write them; out come the rows that a hub would show. It needs no
 * server, no clock and no files but the forms and views themselves.
 */
import { resolve } from "node:path";
import { type Folders, loadForms, loadViews } from "../../services/cli/folders.ts";
import {
  formatHlc,
  type JsonObject,
  type JsonValue,
  originId,
  type Seq,
  TributaryError,
  type Vector,
  withDot,
} from "../../services/core/index.ts";
import { createGate, type Gate } from "../../services/gate/index.ts";
import { loadCasters } from "../../services/gate/node.ts";
import {
  checkRow,
  decisionsOf,
  type EntityState,
  type FoldEvent,
  fitsViews,
  fold,
  type Projection,
  rowWith,
  type View,
} from "../../services/merge/engine.ts";

export interface TrialFolders {
  readonly schemas: string;
  readonly projections: string;
}

/** An event as somebody at a site writes it. */
export interface TrialEvent {
  readonly type: string;
  /** What it is about: `type/id`. */
  readonly entity: string;
  readonly data: JsonObject;
  readonly site?: string;
  readonly org?: string;
  readonly actor?: string;
  /** When it was written: ISO 8601, by the clock of the site. Default: a second after the one before. */
  readonly at?: string;
  /** Whether its author had seen what others wrote of the entity before it. Default: yes. */
  readonly hadSeen?: boolean;
}

/** A contested register: what is shown, and why. */
export interface TrialDecision {
  readonly entity: string;
  readonly register: string;
  readonly rule: string;
  readonly reason: string;
  readonly shown: JsonValue;
  /** Whether a person must decide. */
  readonly isOpen: boolean;
}

/** A row of a view, by column; rows of entities have `id` as well. */
export type TrialRow = Readonly<Record<string, JsonValue>>;

export interface Trial {
  /** Writes an event. Throws `schema-unknown` or `event-invalid`, as a device does, when it fits no form or no view could show it. */
  write(event: TrialEvent): void;
  /** A view's rows, as a hub would show them; totals in the order of their keys. Throws `not-found` for a view that is not declared. */
  rows(view: string): readonly TrialRow[];
  /** What was decided in a view of entities. */
  decisions(view: string): readonly TrialDecision[];
}

const FIRST_MS = Date.UTC(2026, 0, 1);
const EPOCH = "a".repeat(12);
/** Amounts are decimals in PostgreSQL; here, sums of binary numbers are rounded to so many decimals. */
const SUM_DECIMALS = 9;

interface Written {
  readonly entity: string;
  readonly event: FoldEvent;
}

/**
 * Loads a project's forms and views, to try events on.
 *
 *   const trial = await openTrial({ schemas: "schemas", projections: "projections" });
 *   trial.write({ type: "vaccination.given", entity: "vaccination/V-1", data: { vaccination_no: "V-1", doses: 1 } });
 *   trial.rows("vaccinations");
 */
export async function openTrial(given: TrialFolders): Promise<Trial> {
  const folders: Folders = { schemas: resolve(given.schemas), projections: resolve(given.projections) };
  const gate = createGate(loadForms(folders), { casters: await loadCasters(resolve(given.schemas)) });
  const views = await loadViews(folders);
  const fits = fitsViews(views, gate.read);
  const written: Written[] = [];
  const seqs = new Map<string, number>();
  const seen = new Map<string, Vector>();
  let nowMs = FIRST_MS;

  const write: Trial["write"] = (event) => {
    const { type, entity, site = "one", org = "test", actor = "tester", hadSeen = true } = event;
    nowMs = event.at === undefined ? nowMs + 1_000 : momentOf(event.at);
    const [entityType, id] = entityOf(entity);
    const origin = originId({ org, site, device: "tablet", epoch: EPOCH });
    const seq = (seqs.get(origin) ?? 0) as Seq;
    const packed = packedBy(gate, type, entityType, event.data);
    const head = {
      ...{ type, origin, actor, entity: { type: entityType, id }, schema: packed.schema },
      occurredAt: new Date(nowMs).toISOString(),
    };
    const problem = fits(head, packed.data);
    if (problem !== null) throw refused(type, problem.message);
    const known = seen.get(entity) ?? {};
    const own = known[origin];
    const basis: Vector = hadSeen ? known : own === undefined ? {} : { [origin]: own };
    seqs.set(origin, seq + 1);
    seen.set(entity, withDot(known, { origin, seq }));
    written.push({
      entity,
      event: {
        ...{ type, actor, site, origin, seq, basis, entity: head.entity, occurredAt: head.occurredAt },
        data: gate.read(packed.schema, packed.data).data,
        hlc: formatHlc({ wallMs: nowMs, counter: 0 }),
        clockWrong: false,
        position: written.length,
      },
    });
  };

  const statesOf = (projection: Projection): ReadonlyMap<string, EntityState> => {
    const states = new Map<string, EntityState>();
    for (const { event } of written) {
      if (event.entity.type !== projection.entity) continue;
      const folded = fold(projection, states.get(event.entity.id), event);
      if (folded !== null) states.set(event.entity.id, folded.state);
    }
    return states;
  };
  const entityRows = (projection: Projection): (JsonObject & { readonly id: string })[] =>
    [...statesOf(projection)].flatMap(([id, state]) => {
      const row = rowWith(projection, id, state);
      checkRow(projection, row);
      return row.deleted ? [] : [{ ...row.values, id }];
    });
  const named = (name: string): View => {
    const view = views.find((each) => each.name === name);
    if (view !== undefined) return view;
    throw new TributaryError("not-found", `there is no view ${name}`, `There are: ${views.map((each) => each.name).join(", ")}.`);
  };

  return {
    write,
    rows(name) {
      const view = named(name);
      if (view.kind === "entity") return entityRows(view);
      if (view.kind === "sql")
        throw new TributaryError("usage", `${name} is computed by PostgreSQL`, "Try the views that it reads; the hub shows it.");
      const sums = new Map<string, Record<string, JsonValue>>();
      for (const source of views) {
        if (source.kind !== "entity" || !view.sources.has(source.name)) continue;
        for (const row of entityRows(source)) for (const one of view.contributions(source.name, row)) add(sums, view, one);
      }
      return [...sums].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);
    },
    decisions(name) {
      const view = named(name);
      if (view.kind !== "entity") return [];
      return [...statesOf(view)].flatMap(([id, state]) =>
        decisionsOf(view, state).map(({ register, rule, reason, value, isOpen }) => ({
          ...{ entity: `${view.entity}/${id}`, register, rule, reason, isOpen },
          shown: value,
        })),
      );
    },
  };
}

function momentOf(text: string): number {
  const ms = Date.parse(text);
  if (!Number.isNaN(ms)) return ms;
  throw new TributaryError("usage", `${JSON.stringify(text)} is not a time`, "Write it like 2026-05-03T10:00:00Z.");
}

function entityOf(text: string): readonly [string, string] {
  const at = text.indexOf("/");
  if (at > 0 && at < text.length - 1) return [text.slice(0, at), text.slice(at + 1)];
  throw new TributaryError("usage", `${JSON.stringify(text)} is not an entity`, "Write it as type/id, for example clinic/C-1.");
}

const refused = (type: string, problem: string): TributaryError =>
  new TributaryError("event-invalid", `${type}: ${problem}`, "Correct the event, the form or the view.");

function packedBy(gate: Gate, type: string, entity: string, data: JsonObject) {
  const form = gate.subjectFor(type);
  if (form === undefined)
    throw new TributaryError(
      "schema-unknown",
      `no form declares the event type ${type}`,
      "Name it in `tributary.events` of a schema.",
    );
  const schema = { subject: form.subject, version: form.version };
  const packed = gate.pack(schema, data);
  const problem = packed.problem ?? gate.check(schema, type, entity, packed.data);
  if (problem !== null) throw refused(type, problem.message);
  return { schema, data: packed.data };
}

function add(
  sums: Map<string, Record<string, JsonValue>>,
  { keys, sums: amounts }: Extract<View, { readonly kind: "totals" }>,
  one: Readonly<Record<string, JsonValue>>,
): void {
  const key = Object.keys(keys).map((name) => one[name] ?? null);
  const name = JSON.stringify(key);
  const row = sums.get(name) ?? Object.fromEntries([...Object.keys(keys).map((column, i) => [column, key[i]!]), ["rows", 0]]);
  row.rows = Number(row.rows) + 1;
  for (const column of Object.keys(amounts))
    row[column] = Number((Number(row[column] ?? 0) + Number(one[column] ?? 0)).toFixed(SUM_DECIMALS));
  sums.set(name, row);
}
