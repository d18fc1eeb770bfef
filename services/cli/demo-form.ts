import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type JsonObject, TributaryError, withoutLogin } from "../core/index.ts";
import type { Tried } from "../desk/index.ts";
import type { Rebuilt } from "../projector/index.ts";
import { type Db, rows } from "../views/index.ts";
import { cli, cliEnd, openTablet, type Stage } from "./demo-stage.ts";
import { said } from "./demo-words.ts";
import { addSite } from "./sites.ts";

const SITE = { name: "bor", title: "Bor, ferry landing", actor: "achol" } as const;
const FAMILY = { type: "beneficiary", id: "BOR-000001" } as const;
const NEXT = { type: "beneficiary", id: "BOR-000002" } as const;
const SHELTER = ["tent", "mud", "brick", "none"];

/** What the chapter of the form found. */
export interface FormFacts {
  /** A form that old tablets could not have filled in was refused. */
  readonly refused: boolean;
  readonly registered: readonly string[];
  /** What the tablet wrote with the old form after the new one was registered, and the hub confirmed. */
  readonly oldFormConfirmed: number;
  /** Versions of forms that the tablet learnt of at its sync. */
  readonly learnt: number;
  readonly tried: { readonly changed: number; readonly equal: number };
  readonly rebuilt: { readonly events: number };
  /** Her row as the desk sees it at the end. */
  readonly row: Readonly<Record<string, unknown>>;
}

interface FormText {
  readonly properties: JsonObject;
  readonly required?: readonly string[];
}

const readForm = (file: string): FormText => JSON.parse(readFileSync(file, "utf8")) as FormText;
const writeForm = (file: string, form: FormText): void => writeFileSync(file, `${JSON.stringify(form, null, 2)}\n`);

/** Headquarters asks for each family's shelter: form, update form, column, rebuild, and the new value at the desk. */
export async function tellForm(
  stage: Stage,
  { db, projected }: { readonly db: Db; readonly projected: () => Promise<void> },
): Promise<FormFacts> {
  const { out, hub, hubData } = stage;
  const { token } = await addSite(hubData, hub.state, { site: SITE.name, title: SITE.title, days: 90, actor: "coordinator" });
  const { field, clock } = await openTablet(stage, hub.state.org, SITE.name);
  const register = (entity: typeof FAMILY | typeof NEXT): Promise<unknown> =>
    field.append({
      type: "beneficiary.registered",
      entity,
      data: { registration_no: entity.id, given_name: "Abuk", sex: "female", registered_on: "2026-05-18", household_size: 6 },
      actor: SITE.actor,
    });
  const sync = (): ReturnType<typeof field.sync> => {
    clock.putRight();
    return field.sync({ url: withoutLogin(hub.state.natsUrl), token });
  };
  try {
    clock.set("2026-05-18T09:00Z");
    await register(FAMILY);
    await sync();
    out.line(`\n   18 May: ${SITE.title} registers the family ${FAMILY.id}, syncs, and is away again.`);

    const { refused, registered } = await changeForms(stage);
    const { tried, rebuilt } = await addColumn(stage);
    await projected();

    clock.set("2026-05-20T09:00Z");
    await register(NEXT);
    const learning = await sync();
    out.line(
      `   20 May: ${SITE.title} has heard nothing of this, and registers a family with the old form. It syncs: the hub takes it, and the tablet learns the new forms.`,
    );
    clock.set("2026-05-21T09:00Z");
    await field.append({ type: "beneficiary.updated", entity: FAMILY, data: { shelter: "tent" }, actor: SITE.actor });
    await sync();
    await projected();
    const found = await rows(db, { view: "beneficiaries", id: FAMILY.id, page: { limit: 1 } });
    const { given_name, household_size, shelter } = found.rows[0] ?? {};
    out.line(
      `   21 May: it visits the first family and notes its shelter. The desk sees ${FAMILY.id}: ${said(given_name)}, household of ${said(household_size)}, shelter ${said(shelter)}.`,
    );
    return {
      refused,
      registered,
      oldFormConfirmed: learning.confirmed,
      learnt: learning.schemasLearnt,
      tried: { changed: tried.changed, equal: tried.equal },
      rebuilt: { events: rebuilt.events },
      row: { given_name, household_size, shelter },
    };
  } finally {
    field.close();
  }
}

/** New versions of the form and of its update form, checked against what tablets in the field have, and registered while the hub runs. */
async function changeForms({ out, hubData, schemas }: Stage): Promise<Pick<FormFacts, "refused" | "registered">> {
  const check = (): ReturnType<typeof cliEnd> =>
    cliEnd(["schema", "check", schemas, "--against", "hub", "--json", "--data", hubData]);
  const file = join(schemas, "beneficiary", "v3.schema.json");
  copyFileSync(join(schemas, "beneficiary", "v2.schema.json"), file);
  const form = readForm(file);
  const properties = { ...form.properties, shelter: { enum: SHELTER } };
  writeForm(file, { ...form, properties, required: [...(form.required ?? []), "shelter"] });
  const first = await check();
  const refused = first.code !== 0 && first.stdout.includes("shelter is missing");
  out.line("   19 May: headquarters wants to know of each family's shelter, and makes it a question that must be answered.");
  out.line(
    refused
      ? "   `tributary schema check` refuses: what the tablets in the field write has no shelter, and the new form could not read it."
      : "   `tributary schema check` did NOT refuse it.",
  );

  writeForm(file, { ...form, properties });
  const update = join(schemas, "beneficiary-update", "v2.schema.json");
  const updateForm = readForm(join(schemas, "beneficiary-update", "v1.schema.json"));
  writeForm(update, { ...updateForm, properties: { ...updateForm.properties, shelter: { enum: [...SHELTER, null] } } });
  const second = await check();
  if (second.code !== 0)
    throw new TributaryError(
      "verify-failed",
      `the mended forms were refused: ${second.stdout}${second.stderr}`,
      "Please report this.",
    );
  const registered: string[] = [];
  for (const [subject, path] of [
    ["beneficiary", file],
    ["beneficiary-update", update],
  ] as const) {
    const told = await cli(["schema", "register", subject, path, "--actor", "headquarters", "--json", "--data", hubData]);
    registered.push((JSON.parse(told) as { readonly registered: string }).registered);
  }
  out.line(
    "   It may be left open, then. Now the check passes: the form and the form for changes are registered, and the hub never stops.",
  );
  return { refused, registered };
}

/** The view gets the column, and is built again while people read it. */
async function addColumn({
  out,
  hub,
  hubData,
  projections,
}: Stage): Promise<{ readonly tried: Tried; readonly rebuilt: Rebuilt }> {
  const file = join(projections, "beneficiaries.ts");
  writeFileSync(file, readFileSync(file, "utf8").replace("consent: boolean(),", "consent: boolean(),\n    shelter: text(),"));
  const tried = JSON.parse(await cli(["rules", "try", file, "--json", "--data", hubData])) as Tried;
  const rebuilt = JSON.parse(await cli(["rebuild", "beneficiaries", "--json", "--data", hubData])) as Rebuilt;
  await hub.projector.ready();
  out.line(
    `   The desk's list gets a column for it: tried first (${tried.changed === 0 ? "no row would show anything else" : `${tried.changed} rows would change`}), then built beside the old list and put in its place.`,
  );
  return { tried, rebuilt };
}
