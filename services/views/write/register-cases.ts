import type { Position } from "../../core/index.ts";
import type { ViewChanges } from "../changes.ts";
import type { CaseNow } from "./case-of.ts";

/** The cases of registers whose conflicts a person decides. */
export function registerCases({ target, decisions, ended }: ViewChanges): CaseNow[] {
  const { projection, generation } = target;
  const cases = new Map<string, CaseNow>();
  const none = (entityId: string, register: string, position: Position): void => {
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
  for (const { entityId, register, position } of ended) none(entityId, register, position);
  for (const { entityId, decision, position, endedAt } of decisions) {
    const { register, winner, losers, isOpen } = decision;
    none(entityId, register, position);
    if (!isOpen || endedAt !== null) continue;
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
