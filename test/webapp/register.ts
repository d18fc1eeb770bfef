/**
 * A small web application outside the services: it registers people, shows what was known when, and decides what two people have written at the same time. It knows its hub's address and a token, its
 * project's types, and the client.
 */
import { type Chosen, type HubClient, HubError } from "../../packages/client/index.ts";
import type { BeneficiaryV2, Tributary } from "./tributary.d.ts";

export type Hub = HubClient<Tributary>;
const PERSON = "beneficiary";

/** Asks again and again until the views have what was written, which takes a moment. */
export async function shown<A>(ask: () => Promise<A | null>, waitMs: number): Promise<A> {
  const end = Date.now() + waitMs;
  for (;;) {
    const answer = await ask();
    if (answer !== null) return answer;
    if (Date.now() > end) throw new Error("the hub has not shown in time what was written");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Registers somebody, and reads the register as of before and as of after. */
export async function register(hub: Hub, person: BeneficiaryV2, waitMs: number) {
  const people = hub.view("beneficiaries");
  const id = person.registration_no;
  const { through: before } = await people.rows({ first: 1, select: ["id"] });
  const [event] = await hub.append({ type: "beneficiary.registered", entity: { type: PERSON, id }, data: person });
  await shown(() => people.row(id, { select: ["id"] }), waitMs);
  const { through: after } = await people.rows({ first: 1, select: ["id"] });
  if (before === null || after === null || event === undefined) throw new Error("the hub has folded nothing");
  const then = (position: string) => people.row(id, { select: ["given_name", "phone"], asOf: { position } });
  return { event, before: await then(before), after: await then(after) };
}

/** Writes a phone number without having seen what others wrote of it meanwhile. */
export const correct = (hub: Hub, id: string, phone: string) =>
  hub.append({ type: "beneficiary.updated", entity: { type: PERSON, id }, data: { phone } });

/** Follows a person's phone number, and writes another one once it follows: returns what it is told from then on until it is told of that. */
export async function follow(hub: Hub, id: string, phone: string) {
  const told: unknown[] = [];
  let isWritten = false;
  for await (const each of hub.view("phones").live({ select: ["id", "phone"], where: { id: { eq: id } } })) {
    if (each.kind === "standing" && !isWritten) {
      isWritten = true;
      await correct(hub, id, phone);
    }
    if (each.kind !== "rows") continue;
    told.push(...each.rows);
    if (each.rows.some((row) => row.phone === phone)) break;
  }
  return told;
}

/** What waits for somebody to decide it, with the values to choose from. */
export async function waiting(hub: Hub) {
  const { cases } = await hub.cases({ state: "open", view: "phones" });
  return Promise.all(
    cases.map(async ({ id, subject, rule, says }) => ({ id, subject, rule, says, choices: (await hub.case(id))?.choices ?? [] })),
  );
}

/** Decides a case, and shows the row that follows from it. */
export async function settle(hub: Hub, id: string, chosen: Chosen, waitMs: number) {
  await hub.comment(id, "asked by phone");
  const { entity, value } = await hub.decide(id, chosen);
  const row = await shown(async () => {
    const { rows } = await hub
      .view("phones")
      .rows({ where: { id: { eq: entity.replace(`${PERSON}/`, "") }, conflicts: { eq: 0 } } });
    return rows[0] ?? null;
  }, waitMs);
  return { value, phone: row.phone, name: row.given_name };
}

/** All that whoever has the token can find out about somebody, a case, or anything at all. */
export async function find(hub: Hub, id: string, caseId: string) {
  const people = hub.view("beneficiaries");
  const entity = { type: PERSON, id };
  const { rows, total } = await people.rows({ count: true });
  const conditions = await people.rows({ where: { id: { eq: id } }, count: true });
  const pages: string[] = [];
  for await (const page of hub.view("phones").all({ first: 1, sort: "phone", descending: true }))
    pages.push(...page.rows.map((row) => row.id));
  return {
    ...{ rows: rows.map((row) => row.id), total, asked: conditions.total, pages },
    row: await people.row(id),
    cases: (await hub.cases()).cases.length,
    case: await hub.case(caseId),
    history: await codeOf(hub.history(entity)),
    decisions: await codeOf(hub.decisions(entity)),
    explain: await codeOf(hub.explain(entity)),
    decide: await codeOf(hub.decide(caseId, { value: "+254700000000" })),
    quarantine: (await hub.quarantine.list()).total,
  };
}

/** The code of a refusal; `null`: it was answered. */
const codeOf = (answer: Promise<unknown>): Promise<string | null> =>
  answer.then(
    () => null,
    (error: unknown) => {
      if (error instanceof HubError) return error.code;
      throw error;
    },
  );
