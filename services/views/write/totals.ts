import type { JsonObject, Position } from "../../core/index.ts";
import { problemOfTotal, type Totals } from "../../merge/engine.ts";
import type { Addition } from "../additions.ts";
import type { ViewBuild, ViewChanges } from "../changes.ts";
import type { Db } from "../connect.ts";
import { addToTotals, dropEmptyTotals } from "./add-to-totals.ts";
import { type CaseNow, MAX_MEMBERS } from "./case-of.ts";

interface Movement {
  readonly target: ViewBuild;
  readonly additions: Addition[];
  /** By key: the entities whose changes move the total, with their events. Not all that add up to it: they may be thousands. */
  readonly members: Map<string, Map<string, JsonObject>>;
  through: Position;
}

/**
 * Adds what a page changed to totals. Returns the cases that follow. Each total is moved once, with what all of its sources add, in one order everywhere:
 * no two processes ever wait for each other, and only what stands at the page's end makes a case.
 */
export async function writeTotals(db: Db, views: readonly ViewChanges[]): Promise<CaseNow[]> {
  const movements = new Map<Totals, Movement>();
  for (const { target, additions, through, events } of views) {
    for (const [totals, added] of additions) {
      if (added.length === 0) continue;
      const movement: Movement = movements.get(totals) ?? { target, additions: [], members: new Map(), through };
      movement.additions.push(...added);
      if (Object.keys(totals.invariants).length > 0) {
        for (const { key, entityId } of added) {
          const members = movement.members.get(key) ?? new Map<string, JsonObject>();
          movement.members.set(key, members.set(entityId, { entity: entityId, events: [...(events.get(entityId) ?? [])] }));
        }
      }
      if (through > movement.through) movement.through = through;
      movements.set(totals, movement);
    }
  }
  const cases: CaseNow[] = [];
  for (const [totals, movement] of [...movements].sort(([a], [b]) => (a.name < b.name ? -1 : 1)))
    cases.push(...(await moveTotals(db, totals, movement)));
  return cases;
}

async function moveTotals(db: Db, totals: Totals, { target, additions, members, through }: Movement): Promise<CaseNow[]> {
  const moved = await addToTotals(db, totals, target.namespace, additions);
  const empty = moved.filter(({ rows }) => rows === 0).map(({ id }) => String(id));
  if (empty.length > 0) await dropEmptyTotals(db, totals, target.namespace, empty);
  const rules = Object.entries(totals.invariants);
  if (rules.length === 0) return [];
  const cases: CaseNow[] = [];
  for (const row of moved) {
    for (const [name, rule] of rules) {
      const problem = row.rows === 0 ? null : problemOfTotal(rule, row);
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
