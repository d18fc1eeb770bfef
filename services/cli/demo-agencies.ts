import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { type JsonObject, TributaryError, withoutLogin } from "../core/index.ts";
import { makeFolder } from "../core/node.ts";
import type { Tried } from "../desk/index.ts";
import type { NewEvent } from "../field/index.ts";
import type { Decision, RegisterStory } from "../merge/engine.ts";
import type { Rebuilt } from "../projector/index.ts";
import { cases, connectViews, type Db, rows, rowsById } from "../views/index.ts";
import { openTablet, type Stage, type Tablet } from "./demo-stage.ts";
import { day, fieldName, named, said, why } from "./demo-words.ts";
import { type Output, table } from "./output.ts";
import { addSite } from "./sites.ts";

/** Three agencies that serve the same people; each decides about what is its own work. */
const AGENCIES = [
  { org: "census", site: "gudele", title: "Census, Gudele desk", actor: "adut", says: "identity and household size" },
  { org: "shelter", site: "hai-referendum", title: "Shelter, Hai Referendum", actor: "lado", says: "where people live" },
  { org: "foodaid", site: "custom-market", title: "Food Aid, Custom Market", actor: "keji", says: "nothing of her record" },
] as const;
const PERSON = { type: "beneficiary", id: "JUB-100001" } as const;
const DAY = "2026-05-03";

/** What is added to the shipped declaration for a hub that agencies share. */
const AUTHORITY = `authority: {
    given_name: { orgs: ["census"] },
    birth_date: { orgs: ["census"] },
    household_size: { orgs: ["census"] },
    location: { orgs: ["shelter"] },
  },
  `;
const RULE = "resolve: { others: lastWriteWins }";
const CHANGED_RULE = `resolve: { others: lastWriteWins, phone: sitePriority(["census.gudele", "shelter.hai-referendum"]) }`;

/** Writes the demo's own copy of the shipped projections, in which rules can be changed; agencies share its beneficiaries. */
export function writeProjections(from: string, to: string): void {
  makeFolder(to);
  const merge = resolve(from, "../services/merge/index.ts");
  for (const name of readdirSync(from)) {
    if (!name.endsWith(".ts")) continue;
    let text = readFileSync(join(from, name), "utf8").replace(/"\.\.\/services\/merge\/index\.ts"/, JSON.stringify(merge));
    if (name === "beneficiaries.ts") text = text.replace(RULE, AUTHORITY + RULE);
    writeFileSync(join(to, name), text);
  }
}

function changeRule(dir: string): string {
  const file = join(dir, "beneficiaries.ts");
  const text = readFileSync(file, "utf8");
  writeFileSync(file, text.replace(RULE, CHANGED_RULE).replace("lastWriteWins, remove", "lastWriteWins, remove, sitePriority"));
  return file;
}

export interface AgencyFacts {
  /** Her row when all three had synced, under the first rules. */
  readonly row: Readonly<Record<string, unknown>>;
  readonly contested: readonly {
    readonly register: string;
    readonly rule: string;
    readonly reason: string;
    readonly shown: unknown;
  }[];
  readonly doubleRation: { readonly says: string; readonly entities: readonly string[]; readonly events: number } | null;
  readonly tried: { readonly changed: number; readonly columns: unknown };
  readonly rebuilt: { readonly events: number; readonly seconds: number };
  readonly reader: {
    readonly reads: number;
    readonly failures: number;
    readonly empty: number;
    readonly phones: readonly string[];
  };
  readonly after: Readonly<Record<string, unknown>>;
}

/** What the chapter needs beside the stage. */
export interface AgencyDeps {
  readonly db: Db;
  readonly cli: (args: readonly string[]) => Promise<string>;
  readonly projected: () => Promise<void>;
}

/** Three agencies edit one person offline; the result is told; and a rule is changed while somebody reads. */
export async function agencies(stage: Stage, deps: AgencyDeps): Promise<AgencyFacts> {
  const { out } = stage;
  const { db, cli, projected } = deps;
  out.line(
    table(
      ["agency", "has the say over"],
      AGENCIES.map(({ title, says }) => [title, says]),
      "   ",
    ),
  );
  await writeOffline(stage);
  await projected();

  const row = await rowOf(db);
  const { views } = JSON.parse(await cli(["explain", PERSON.type, PERSON.id, "--json"])) as {
    views: { registers: RegisterStory[] }[];
  };
  const registers = views.flatMap((view) => view.registers);
  const contested = registers.flatMap(({ register, decision }) =>
    decision === null ? [] : [{ register, rule: decision.rule, reason: decision.reason, shown: decision.value }],
  );
  out.line(
    `\n   All three sync. Her row: household of ${said(row.household_size)}, village ${said(row.village)}, language ${said(row.preferred_language)}, phone ${said(row.phone)}.`,
  );
  out.line("   The desk asks why (`tributary explain`):");
  for (const story of registers) if (story.decision !== null) tellRegister(out, story, story.decision);

  const doubleRation = await rationCase(db);
  out.line(
    doubleRation === null
      ? "\n   The double ration was NOT FOUND."
      : `\n   Two agencies handed her maize in May. Nothing is undone: it becomes a case for people, with both slips (${doubleRation.entities.join(", ")}).`,
  );
  return { row, contested, doubleRation, ...(await changeOfRule(stage, deps)) };
}

/** Tells a contested value: who wrote what, what they had seen, and what is shown. */
function tellRegister(out: Output, { register, steps }: RegisterStory, { value, reason, losers }: Decision): void {
  const agency = (org: string): string => AGENCIES.find((each) => each.org === org)?.title.split(",")[0] ?? org;
  const wroteIn = new Map(steps.map((each) => [each.event, said(each.value)]));
  const list = (events: readonly string[]): string => events.map((event) => wroteIn.get(event) ?? "another").join(" and ");
  out.line(`\n     ${fieldName(register)}`);
  for (const { actor, org, occurredAt, replaces, beside, value: wrote } of steps) {
    const having = replaces.length === 0 ? "" : `, having seen ${list(replaces)}`;
    const without = beside.length === 0 ? "" : `, not knowing of ${list(beside)}`;
    out.line(`       ${day(occurredAt)}: ${named(actor)} (${agency(org)}) wrote ${said(wrote)}${having}${without}.`);
  }
  const kept = losers.map((loser) => said(loser.value)).join(" and ");
  out.line(`       ${said(value)} is shown, since ${why(reason)}. ${kept} is kept beside it.`);
}

/** What each agency writes about her while it is offline; then all sync. */
async function writeOffline(stage: Stage): Promise<void> {
  const { out, hub, hubData } = stage;
  const tablets: Tablet[] = [];
  const at = (agency: number): Tablet & { readonly actor: string } => {
    const [tablet, who] = [tablets[agency], AGENCIES[agency]];
    if (tablet === undefined || who === undefined)
      throw new TributaryError("internal", `there is no agency ${agency}`, "This is a bug; please report it.");
    return { ...tablet, actor: who.actor };
  };
  const write = (agency: number, moment: string, given: Pick<NewEvent, "type" | "entity" | "data">): Promise<unknown> => {
    const { field, clock, actor } = at(agency);
    clock.set(moment);
    return field.append({ ...given, actor });
  };
  const update = (agency: number, moment: string, data: JsonObject): Promise<unknown> =>
    write(agency, moment, { type: "beneficiary.updated", entity: PERSON, data });
  try {
    for (const { org, site } of AGENCIES) tablets.push(await openTablet(stage, org, site));
    await write(0, "2026-05-03T09:00Z", {
      type: "beneficiary.registered",
      entity: PERSON,
      data: {
        registration_no: PERSON.id,
        given_name: "Nyakor",
        sex: "female",
        registered_on: DAY,
        household_size: 4,
        phone: "+211920000000",
      },
    });
    const { field: census } = at(0);
    for (const agency of [1, 2]) at(agency).field.noteSeen(PERSON, census.seen(PERSON), census.signedHeads(PERSON));
    await update(0, "2026-05-11T10:00Z", { household_size: 5 });
    await update(1, "2026-05-12T08:12Z", { district: "Juba", village: "Hai Referendum", phone: "+211920000001" });
    await update(2, "2026-05-13T09:30Z", { household_size: 9, preferred_language: "nus", phone: "+211920000002" });
    for (const [agency, id] of [
      [1, "SHELTER-D-1"],
      [2, "FOODAID-D-1"],
    ] as const)
      await write(agency, "2026-05-14T12:00Z", {
        type: "distribution.recorded",
        entity: { type: "distribution", id },
        data: {
          distribution_no: id,
          registration_no: PERSON.id,
          item: "MAIZE",
          quantity: 12.5,
          unit: "KG",
          distributed_on: "2026-05-14",
        },
      });
    out.line(
      `\n   3 May: Census registers Nyakor, ${PERSON.id}. Without a network, all three then write about her; two have seen her card.`,
    );
    out.line(
      "   Different fields will both stand. Two note a phone number, and Food Aid another household than Census, which has the say.",
    );
    for (const [agency, { org, site, title }] of AGENCIES.entries()) {
      const { token } = await addSite(hubData, hub.state, { org, site, title, days: 90, actor: "coordinator" });
      const { field, clock } = at(agency);
      clock.putRight();
      await field.sync({ url: withoutLogin(hub.state.natsUrl), token });
    }
  } finally {
    for (const { field } of tablets) field.close();
  }
}

/** A rule is changed: it is tried on the whole history first, then built beside the live view while somebody reads. */
async function changeOfRule(
  { out, hub, projections }: Stage,
  { db, cli, projected }: AgencyDeps,
): Promise<Pick<AgencyFacts, "tried" | "rebuilt" | "reader" | "after">> {
  out.line("\n   The agencies agree: a phone number that Census noted, else Shelter's, counts more than a later one.");
  const tried = JSON.parse(await cli(["rules", "try", changeRule(projections), "--json"])) as Tried;
  const columns = tried.rows.find(({ id }) => id === PERSON.id)?.columns ?? null;
  out.line(
    `   The changed rule is tried on the whole history (\`tributary rules try\`): ${tried.changed} of ${tried.entities} rows would change.`,
  );
  for (const [column, { now, would }] of Object.entries(columns ?? {}))
    out.line(`     ${PERSON.id}, ${fieldName(column)}: ${said(would)} instead of ${said(now)}.`);

  const reader = await readWithoutPause(hub.state.postgresUrl);
  const rebuilt = JSON.parse(await cli(["rebuild", "beneficiaries", "--json"])) as Rebuilt;
  await hub.projector.ready();
  await projected();
  const seen = await reader.stop();
  const after = await rowOf(db);
  out.line(
    "   Then the desk's list is built a second time beside the old one, and replaces it (`tributary rebuild`). Somebody reads her row all the while:",
  );
  out.line(
    `     asked ${seen.reads} times, without an answer ${seen.failures + seen.empty} times; the phone number was ${seen.phones.join(", then ")}.`,
  );
  return {
    tried: { changed: tried.changed, columns },
    rebuilt: { events: rebuilt.events, seconds: rebuilt.seconds },
    reader: seen,
    after,
  };
}

const SHOWN = ["given_name", "household_size", "phone", "district", "village", "preferred_language", "conflicts"];

async function rowOf(db: Db): Promise<Record<string, unknown>> {
  const found = await rows(db, { view: "beneficiaries", id: PERSON.id, page: { limit: 1 } });
  const [row] = found.rows;
  return row === undefined ? {} : Object.fromEntries(SHOWN.map((name) => [name, row[name]]));
}

async function rationCase(db: Db): Promise<AgencyFacts["doubleRation"]> {
  const { cases: open } = await cases(db, { rule: "ration_once", state: "open" });
  const found = open.find(({ subject }) => subject.includes(PERSON.id));
  if (found === undefined) return null;
  const members = found.about.members ?? [];
  return {
    says: found.says,
    entities: members.map(({ entity }) => entity),
    events: members.reduce((sum, { events }) => sum + events.length, 0),
  };
}

const PHONE = new Map([["phone", "text"]]);

/** Reads her phone number again and again; each answer must be there, and complete. */
async function readWithoutPause(postgresUrl: string): Promise<{ stop(): Promise<AgencyFacts["reader"]> }> {
  const db = await connectViews(postgresUrl, "tributary-demo reader");
  let stopping = false;
  const facts = { reads: 0, failures: 0, empty: 0, phones: [] as string[] };
  const reading = (async () => {
    while (!stopping) {
      facts.reads++;
      try {
        const found = await rowsById(db, "beneficiaries", PHONE, [PERSON.id]);
        const phone = found.get(PERSON.id)?.values.phone;
        if (typeof phone !== "string") facts.empty++;
        else if (facts.phones.at(-1) !== phone) facts.phones.push(phone);
      } catch {
        facts.failures++;
      }
    }
  })();
  return {
    async stop() {
      stopping = true;
      await reading;
      await db.end();
      return facts;
    },
  };
}
