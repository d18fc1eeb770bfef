import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { RegisterStory } from "../audit/index.ts";
import { withoutLogin } from "../core/index.ts";
import type { Tried } from "../desk/index.ts";
import { openField } from "../field/index.ts";
import type { Rebuilt } from "../projector/index.ts";
import { cases, connectViews, type Db, rows, rowsById } from "../views/index.ts";
import type { Output } from "./output.ts";
import { shown, table } from "./output.ts";
import { SCHEMAS_DIR } from "./program.ts";
import { addSite } from "./sites.ts";
import type { Hub } from "./supervise.ts";

/** Three agencies that serve the same people, each with the say over what is its work. */
const AGENCIES = [
  { org: "census", site: "gudele", title: "Census, Gudele desk", actor: "adut", says: "identity and household size" },
  { org: "shelter", site: "hai-referendum", title: "Shelter, Hai Referendum", actor: "lado", says: "where people live" },
  { org: "foodaid", site: "custom-market", title: "Food Aid, Custom Market", actor: "keji", says: "nothing of her record" },
] as const;
const PERSON = { type: "beneficiary", id: "JUB-100001" } as const;
const DAY = "2026-05-03";

/** What the shipped declaration gets for a hub that agencies share. */
const AUTHORITY = `authority: {
    given_name: { orgs: ["census"] },
    birth_date: { orgs: ["census"] },
    household_size: { orgs: ["census"] },
    location: { orgs: ["shelter"] },
  },
  `;
const RULE = "resolve: { others: lastWriteWins }";
const CHANGED_RULE = `resolve: { others: lastWriteWins, phone: sitePriority(["census.gudele", "shelter.hai-referendum"]) }`;

/** The demo's own copy of the shipped projections, in which rules can be changed; its beneficiaries are shared by agencies. */
export function writeProjections(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
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

type Cli = (args: readonly string[]) => Promise<string>;

/**
 * Three agencies edit one person offline; what becomes of it; and a rule that is changed while somebody reads.
 * Long because it is one story, told in its order.
 */
export async function agencies(
  out: Output,
  deps: {
    readonly hub: Hub;
    readonly hubData: string;
    readonly sitesDir: string;
    readonly projections: string;
    readonly db: Db;
    readonly cli: Cli;
    readonly projected: () => Promise<void>;
  },
): Promise<AgencyFacts> {
  const { hub, hubData, sitesDir, projections, db, cli, projected } = deps;
  const { postgresUrl } = hub.state;
  const natsUrl = withoutLogin(hub.state.natsUrl);
  out.line(
    table(
      ["agency", "has the say over"],
      AGENCIES.map(({ title, says }) => [title, says]),
      "   ",
    ),
  );

  const fields = AGENCIES.map(({ org, site }) =>
    openField({ path: join(sitesDir, `${org}.db`), name: { org, site, device: "tablet-1" }, schemas: SCHEMAS_DIR }),
  );
  const [census, shelter, foodaid] = fields as [(typeof fields)[0], (typeof fields)[0], (typeof fields)[0]];
  try {
    const write = (at: number, type: string, entity: { type: string; id: string }, data: Record<string, string | number>) =>
      fields[at]!.append({ type, entity, data, actor: AGENCIES[at]!.actor });
    await write(0, "beneficiary.registered", PERSON, {
      registration_no: PERSON.id,
      given_name: "Nyakor",
      sex: "female",
      registered_on: DAY,
      household_size: 4,
      phone: "+211920000000",
    });
    for (const field of [shelter, foodaid]) field.noteSeen(PERSON, census.seen(PERSON), census.signedHeads(PERSON));
    await write(0, "beneficiary.updated", PERSON, { household_size: 5 });
    await write(1, "beneficiary.updated", PERSON, { district: "Juba", village: "Hai Referendum", phone: "+211920000001" });
    await write(2, "beneficiary.updated", PERSON, { household_size: 9, preferred_language: "nus", phone: "+211920000002" });
    for (const at of [1, 2]) {
      const id = `${AGENCIES[at]!.org.toUpperCase()}-D-1`;
      await write(
        at,
        "distribution.recorded",
        { type: "distribution", id },
        {
          distribution_no: id,
          registration_no: PERSON.id,
          item: "MAIZE",
          quantity: 12.5,
          unit: "KG",
          distributed_on: DAY,
        },
      );
    }
    out.line(
      `\n   Offline, all three write about ${PERSON.id}, whose card they have seen. Two change different fields; two change her phone number;`,
    );
    out.line("   Food Aid changes her household's size, which is for Census to say; and two hand her the month's maize.\n");
    for (const [at, { org, site, title }] of AGENCIES.entries()) {
      const { token } = await addSite(hubData, hub.state, { org, site, title, days: 90, actor: "coordinator" });
      await fields[at]!.sync({ url: natsUrl, token });
    }
  } finally {
    for (const field of fields) field.close();
  }
  await projected();

  const row = await rowOf(db);
  const { views } = JSON.parse(await cli(["explain", PERSON.type, PERSON.id, "--json"])) as {
    views: { registers: RegisterStory[] }[];
  };
  const { registers } = views[0]!;
  const contested = registers.flatMap(({ register, decision }) =>
    decision === null ? [] : [{ register, rule: decision.rule, reason: decision.reason, shown: decision.value }],
  );
  out.line(
    `   Her row: household ${shown(row.household_size)}, village ${shown(row.village)}, language ${shown(row.preferred_language)}, phone ${shown(row.phone)}.`,
  );
  out.line("   `tributary explain beneficiary JUB-100001 phone` tells:\n");
  out.line(indent(await cli(["explain", PERSON.type, PERSON.id, "phone"])));
  out.line("\n   and of her household's size:\n");
  out.line(indent(await cli(["explain", PERSON.type, PERSON.id, "household_size"])));

  const doubleRation = await rationCase(db);
  out.line(`\n   The double ration is a case for people, with both hand-outs: ${doubleRation?.says ?? "NOT FOUND"}.`);

  out.line(
    "\n   The agencies agree that a number taken down by Census, else by Shelter, counts more than a later one. The changed rule is tried first:\n",
  );
  const file = changeRule(projections);
  const tried = JSON.parse(await cli(["rules", "try", file, "--json"])) as Tried;
  out.line(indent(await cli(["rules", "try", file])));

  out.line("\n   Then the view is built anew beside the live one and swapped in, while somebody reads it without pause:\n");
  const reader = await readWithoutPause(postgresUrl);
  const rebuilt = JSON.parse(await cli(["rebuild", "beneficiaries", "--json"])) as Rebuilt;
  await hub.projector.ready();
  await projected();
  const seen = await reader.stop();
  const after = await rowOf(db);
  out.line(
    `   ${rebuilt.events} events folded in ${rebuilt.seconds} s. The reader asked ${seen.reads} times: ${seen.failures} failures, ${seen.empty} empty answers; she saw ${seen.phones.map(shown).join(", then ")}.`,
  );
  return {
    row,
    contested,
    doubleRation,
    tried: { changed: tried.changed, columns: tried.rows.find(({ id }) => id === PERSON.id)?.columns ?? null },
    rebuilt: { events: rebuilt.events, seconds: rebuilt.seconds },
    reader: seen,
    after,
  };
}

const indent = (text: string): string =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => `     ${line}`)
    .join("\n");

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

/** Reads her phone number again and again; each answer must be there, and whole. */
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
