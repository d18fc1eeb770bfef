import { createHash } from "node:crypto";
import type { Client } from "pg";
import { type JsonObject, type JsonValue, messageOf } from "../core/index.ts";
import type { Invariant, Totals } from "../merge/engine.ts";
import type { Notice } from "./notices.ts";
import type { Claim, ViewChanges, ViewTarget } from "./prepare.ts";
import { type Addition, addTotals, at, q } from "./tables.ts";

/** A case as it stands after a page: what is to be decided, or that there is nothing any more. */
export interface CaseNow {
  readonly view: string;
  readonly generation: number;
  readonly kind: "register" | "invariant";
  readonly entityType: string;
  /** The entity, or the key that entities share. */
  readonly subject: string;
  /** The register or the invariant. */
  readonly rule: string;
  /** `null`: there is no case. */
  readonly about: JsonValue | null;
  /** What a decision of people holds for, where that is not all of `about`: a change of it opens the case again. */
  readonly matter?: JsonValue;
  readonly says: string;
  readonly position: string;
  readonly targets: readonly string[];
}

/** A case's name: the same in every build of the view, so that what people noted stays with it. */
export const caseIdOf = ({ view, kind, subject, rule }: Pick<CaseNow, "view" | "kind" | "subject" | "rule">): string =>
  createHash("sha256")
    .update(JSON.stringify([view, kind, rule, subject]))
    .digest("hex")
    .slice(0, 12);

/** Entities of a case that are listed; the rest is counted. */
const MAX_MEMBERS = 100;
const LOCK_CLASS = 7_401_104;

const markOf = ({ about, matter = about }: CaseNow): string =>
  createHash("sha256").update(JSON.stringify(matter)).digest("hex").slice(0, 16);

/**
 * Writes what a page changed in a view's claims, and returns the cases that follow. Keys are locked in one order everywhere: two processes that
 * hand in the same key at once see each other's.
 */
export async function writeInvariants(db: Client, changes: ViewChanges, alone: boolean): Promise<CaseNow[]> {
  const { target, claims, checks, through } = changes;
  const { projection, generation } = target;
  const base = { view: projection.name, generation, kind: "invariant", entityType: projection.entity } as const;
  const cases: CaseNow[] = [];
  for (const { invariant, entityId, problem } of checks) {
    cases.push({
      ...base,
      subject: entityId,
      rule: invariant,
      about: problem === null ? null : { problem, members: [{ entity: entityId, events: [...changes.eventsOf(entityId)] }] },
      says: problem ?? "",
      position: through,
      targets: projection.notified(invariant),
    });
  }
  if (claims.length > 0) {
    for (const { invariant, key, count, members } of await moveClaims(db, changes, claims, alone)) {
      const rule = projection.invariants[invariant] as Extract<Invariant, { atMost: number }>;
      const isBroken = count > rule.atMost;
      cases.push({
        ...base,
        subject: key,
        rule: invariant,
        about: isBroken ? { count, members: members.slice(0, MAX_MEMBERS) } : null,
        says: isBroken ? `${rule.says}: ${count} for ${key}` : "",
        position: through,
        targets: projection.notified(invariant),
      });
    }
  }
  return cases;
}

interface Movement {
  readonly target: ViewTarget;
  readonly additions: Addition[];
  /** By key: entities whose change moves the total, with their events. All that add up to it may be thousands. */
  readonly members: Map<string, Map<string, JsonObject>>;
  through: string;
}

/**
 * Adds what a page changed to totals, and returns the cases that follow. Each total is moved once, with what all of its sources add, in one order everywhere:
 * two processes never wait for each other crosswise, and only what stands at the page's end makes a case.
 */
export async function writeTotals(db: Client, views: readonly ViewChanges[]): Promise<CaseNow[]> {
  const movements = new Map<Totals, Movement>();
  for (const { target, additions, through, eventsOf } of views) {
    for (const [totals, added] of additions) {
      if (added.length === 0) continue;
      const movement: Movement = movements.get(totals) ?? { target, additions: [], members: new Map(), through };
      movement.additions.push(...added);
      if (Object.keys(totals.invariants).length > 0) {
        for (const { key, entityId } of added) {
          const members = movement.members.get(key) ?? new Map<string, JsonObject>();
          movement.members.set(key, members.set(entityId, { entity: entityId, events: [...eventsOf(entityId)] }));
        }
      }
      if (BigInt(through) > BigInt(movement.through)) movement.through = through;
      movements.set(totals, movement);
    }
  }
  const cases: CaseNow[] = [];
  for (const [totals, movement] of [...movements].sort(([a], [b]) => (a.name < b.name ? -1 : 1)))
    cases.push(...(await moveTotals(db, totals, movement)));
  return cases;
}

interface ClaimedKey {
  readonly invariant: string;
  readonly key: string;
  readonly count: number;
  readonly members: readonly JsonObject[];
}

async function moveClaims(
  db: Client,
  { target, eventsOf }: ViewChanges,
  claims: readonly Claim[],
  alone: boolean,
): Promise<ClaimedKey[]> {
  const table = at(target.place, `${target.projection.name}_claims`);
  const keys = new Map<string, { invariant: string; key: string }>();
  for (const { invariant, before, after } of claims)
    for (const key of [before, after]) if (key !== null) keys.set(`${invariant}\n${key}`, { invariant, key });
  if (!alone) {
    const locks = [...new Set([...keys.keys()].map((name) => lockOf(`${target.projection.name}\n${name}`)))].sort(
      (a, b) => a - b,
    );
    await db.query("SELECT pg_advisory_xact_lock($1, k) FROM unnest($2::int[]) k", [LOCK_CLASS, locks]);
  }
  const gone = claims.filter(({ before }) => before !== null);
  if (gone.length > 0) {
    await db.query(
      `DELETE FROM ${table} c USING unnest($1::text[], $2::text[], $3::text[]) AS x (invariant, key, entity_id)
       WHERE c.invariant = x.invariant AND c.key = x.key AND c.entity_id = x.entity_id`,
      [gone.map(({ invariant }) => invariant), gone.map(({ before }) => before), gone.map(({ entityId }) => entityId)],
    );
  }
  const here = claims.filter(({ after }) => after !== null);
  if (here.length > 0) {
    await db.query(
      `INSERT INTO ${table} SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::json[])
       ON CONFLICT (invariant, key, entity_id) DO UPDATE SET events = excluded.events`,
      [
        here.map(({ invariant }) => invariant),
        here.map(({ after }) => after),
        here.map(({ entityId }) => entityId),
        here.map(({ entityId }) => JSON.stringify(eventsOf(entityId))),
      ],
    );
  }
  const wanted = [...keys.values()];
  const { rows } = await db.query<{ invariant: string; key: string; count: number; members: JsonObject[] | null }>(
    `SELECT x.invariant, x.key, count(c.entity_id)::int AS count,
       CASE WHEN count(c.entity_id) > 1
         THEN json_agg(json_build_object('entity', c.entity_id, 'events', c.events) ORDER BY c.entity_id COLLATE "C") END AS members
     FROM unnest($1::text[], $2::text[]) AS x (invariant, key) LEFT JOIN ${table} c ON c.invariant = x.invariant AND c.key = x.key
     GROUP BY x.invariant, x.key`,
    [wanted.map(({ invariant }) => invariant), wanted.map(({ key }) => key)],
  );
  return rows.map(({ members, ...row }) => ({ ...row, members: members ?? [] }));
}

const lockOf = (name: string): number => createHash("sha256").update(name).digest().readInt32BE(0);

async function moveTotals(db: Client, totals: Totals, { target, additions, members, through }: Movement): Promise<CaseNow[]> {
  const result = await db.query<Record<string, string | number | null>>(addTotals(totals, target.place, additions));
  const empty = result.rows.filter(({ rows }) => rows === 0).map(({ id }) => id);
  if (empty.length > 0)
    await db.query(`DELETE FROM ${at(target.place, totals.name)} WHERE id = ANY($1) AND ${q("rows")} = 0`, [empty]);
  const rules = Object.entries(totals.invariants);
  if (rules.length === 0) return [];
  const cases: CaseNow[] = [];
  for (const row of result.rows) {
    for (const [name, rule] of rules) {
      const problem = row.rows === 0 || !("problem" in rule) ? null : problemIn(rule.problem, row);
      cases.push({
        view: totals.name,
        generation: target.generation,
        kind: "invariant",
        entityType: totals.name,
        subject: String(row.id),
        rule: name,
        about:
          problem === null
            ? null
            : { problem, values: row, members: [...(members.get(String(row.id))?.values() ?? [])].slice(-MAX_MEMBERS) },
        matter: { problem, values: row },
        says: problem ?? "",
        position: through,
        targets: totals.notified(name),
      });
    }
  }
  return cases;
}

/** A rule that throws says no less than one that complains; the page must go on. */
function problemIn(problem: (row: never) => string | null, row: Record<string, unknown>): string | null {
  try {
    return problem(row as never);
  } catch (error) {
    return `it cannot be checked: ${messageOf(error)}`;
  }
}

/** The cases that registers under a person's rule make. */
export function registerCases({ target, decisions, settled }: ViewChanges): CaseNow[] {
  const { projection, generation } = target;
  const cases = new Map<string, CaseNow>();
  const none = (entityId: string, register: string, position: string): void => {
    cases.set(`${entityId}\n${register}`, {
      view: projection.name,
      generation,
      kind: "register",
      entityType: projection.entity,
      subject: entityId,
      rule: register,
      about: null,
      says: "",
      position,
      targets: projection.notified(register),
    });
  };
  for (const { entityId, register, position } of settled) none(entityId, register, position);
  for (const { entityId, decision, position, settledPosition } of decisions) {
    const { register, winner, losers, isOpen } = decision;
    none(entityId, register, position);
    if (!isOpen || settledPosition !== null) continue;
    const siblings = [winner, ...losers].sort((a, b) =>
      a.by.origin < b.by.origin ? -1 : a.by.origin > b.by.origin ? 1 : a.by.seq - b.by.seq,
    );
    cases.set(`${entityId}\n${register}`, {
      ...cases.get(`${entityId}\n${register}`)!,
      about: {
        siblings: siblings.map(({ by, value }) => ({
          event: `${by.origin}/${by.seq}`,
          actor: by.actor,
          hlc: by.hlc,
          clockWrong: by.clockWrong,
          value,
        })),
      },
      says: `${siblings.length} values of ${register} stand side by side`,
    });
  }
  return [...cases.values()];
}

/** Opens, changes and closes cases, and returns whom to tell of what is new. */
export async function writeCases(db: Client, found: readonly CaseNow[]): Promise<Notice[]> {
  // Of several words on one case the last holds. In one order everywhere, so that two processes never wait for each other crosswise.
  const last = new Map(found.map((one) => [`${one.view}/${caseIdOf(one)}`, one]));
  const cases = [...last].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one);
  const closed = cases.filter(({ about }) => about === null);
  if (closed.length > 0) {
    await db.query(
      `UPDATE tributary.case_row c SET closed_position = x.position
       FROM unnest($1::text[], $2::int[], $3::text[], $4::bigint[]) AS x (view, generation, id, position)
       WHERE c.view = x.view AND c.generation = x.generation AND c.id = x.id AND c.closed_position IS NULL`,
      [
        closed.map(({ view }) => view),
        closed.map(({ generation }) => generation),
        closed.map(caseIdOf),
        closed.map(({ position }) => position),
      ],
    );
  }
  const open = cases.filter(({ about }) => about !== null);
  if (open.length === 0) return [];
  const { rows } = await db.query<{ id: string; mark: string }>(
    `INSERT INTO tributary.case_row AS c (view, generation, id, kind, entity_type, subject, rule, says, about, mark, opened_position, opened_at,
       changed_position)
     SELECT x.*, now(), x.changed_position FROM unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::text[], $6::text[],
       $7::text[], $8::text[], $9::json[], $10::text[], $11::bigint[])
       AS x (view, generation, id, kind, entity_type, subject, rule, says, about, mark, changed_position)
     ON CONFLICT (view, generation, id) DO UPDATE SET says = excluded.says, about = excluded.about, mark = excluded.mark,
       changed_position = excluded.changed_position, closed_position = NULL,
       opened_position = CASE WHEN c.closed_position IS NULL THEN c.opened_position ELSE excluded.opened_position END,
       opened_at = CASE WHEN c.closed_position IS NULL THEN c.opened_at ELSE excluded.opened_at END
     WHERE c.mark <> excluded.mark OR c.closed_position IS NOT NULL
     RETURNING id, mark`,
    [
      open.map(({ view }) => view),
      open.map(({ generation }) => generation),
      open.map(caseIdOf),
      open.map(({ kind }) => kind),
      open.map(({ entityType }) => entityType),
      open.map(({ subject }) => subject),
      open.map(({ rule }) => rule),
      open.map(({ says }) => says),
      open.map(({ about }) => JSON.stringify(about)),
      open.map(markOf),
      open.map(({ position }) => position),
    ],
  );
  const changed = new Set(rows.map(({ id }) => id));
  return open.flatMap((one) => {
    const id = caseIdOf(one);
    if (!changed.has(id)) return [];
    return one.targets.map(
      (target): Notice => ({
        key: `${target}/case/${id}/${markOf(one)}`,
        target,
        subject: `Case ${id}: ${one.view}, ${one.kind === "register" ? `${one.subject}, ${one.rule}` : one.rule}`,
        body: {
          kind: "case",
          case: id,
          view: one.view,
          entity: `${one.entityType}/${one.subject}`,
          [one.kind]: one.rule,
          rule: one.kind === "register" ? "manual" : one.rule,
          text: one.kind === "register" ? one.says : "an invariant is violated",
          position: one.position,
          values: { says: one.says, about: one.about },
        },
      }),
    );
  });
}
