import { isJsonObject, type JsonValue, type SchemaRef, TributaryError } from "../../core/index.ts";
import { askAgain, examine, nameOf, parkedMeant, reject, release } from "../../desk/index.ts";
import { parkedRows, type QuarantineRow, quarantineCount, quarantinePage, quarantineRates } from "../../views/index.ts";
import { liveViews } from "./answers-views.ts";
import { cursorIn, cursorOf, positionIn } from "./cursors.ts";
import { atDesk, byOf } from "./desk.ts";
import { type Answers, type Asking, given } from "./hub.ts";
import { GRAPHQL_LIMITS, pageRows } from "./limits.ts";

interface QuarantineArgs {
  readonly state?: QuarantineRow["state"] | null;
  readonly site?: string | null;
  readonly code?: string | null;
  readonly subject?: string | null;
  readonly version?: number | null;
  readonly first?: number | null;
  readonly after?: string | null;
}

const withName = (row: QuarantineRow) => ({ ...row, name: nameOf(row) });

function quarantine({ first, after, ...filter }: QuarantineArgs, { hub, principal }: Asking) {
  const limit = pageRows(first, { ...GRAPHQL_LIMITS, ...hub.limits });
  const [at = null] = after == null ? [] : cursorIn(after, "quarantine", 1);
  return hub.reading.read(principal.viewer, async (db) => {
    const behind = at === null ? null : positionIn(at);
    const found = await quarantinePage(db, given(filter), { behind, limit: limit + 1 });
    const events = found.slice(0, limit).map(withName);
    const last = found.length > limit ? events.at(-1) : undefined;
    const total = await quarantineCount(db, given(filter));
    return { events, next: last === undefined ? null : cursorOf("quarantine", [last.position]), total };
  });
}

const quarantined = ({ event }: { readonly event: string }, { hub, principal }: Asking) => {
  const { gate } = hub;
  const projections = liveViews(hub);
  return hub.reading.read(principal.viewer, async (db) => {
    const { event: row, schema, ...found } = await examine({ db, gate, projections }, event);
    return { ...found, event: withName(row), schema: `${schema.subject}@${schema.version}` };
  });
};

const rates = ({ days }: { readonly days?: number | null }, { hub, principal }: Asking) =>
  hub.reading.read(principal.viewer, (db) => quarantineRates(db, days ?? null));

const parked = (
  { view, first }: { readonly view?: string | null; readonly first?: number | null },
  { hub, principal }: Asking,
) => {
  const limit = pageRows(first, { ...GRAPHQL_LIMITS, ...hub.limits });
  return hub.reading.read(principal.viewer, async (db) => (await parkedRows(db, view ?? null)).slice(0, limit));
};

export const keepingAnswers = { quarantine, quarantined, quarantineRates: rates, parked } satisfies Answers;

interface ReleaseArgs {
  readonly events: readonly string[];
  readonly changes?: readonly { readonly field: string; readonly value?: JsonValue }[] | null;
  readonly replacement?: JsonValue;
  readonly schema?: SchemaRef | null;
  readonly note?: string | null;
  readonly dryRun?: boolean | null;
}

function releaseQuarantined({ events, changes, replacement = null, schema, note, dryRun }: ReleaseArgs, asking: Asking) {
  if (replacement !== null && !isJsonObject(replacement))
    throw new TributaryError("usage", "replacement is not a JSON object", "Give all of the event's data, by field.");
  return atDesk(asking, (desk) =>
    release(desk, {
      which: { names: events },
      changes: (changes ?? []).map(({ field, value }) => [field, value ?? null] as const),
      replacement,
      ...given({ schema }),
      dryRun: dryRun === true,
      ...byOf(asking, note),
    }),
  );
}

/** What they mean is looked up as the person who asks; that the projector folds it again, only the hub itself can ask for. */
async function retryParked(
  { view, names }: { readonly view?: string | null; readonly names?: readonly string[] | null },
  asking: Asking,
) {
  const { hub, principal } = asking;
  const meant = await hub.reading.read(principal.viewer, (db) => parkedMeant({ db }, { ...given({ view }), names: names ?? [] }));
  return hub.reading.asHub((db) => askAgain({ db }, meant));
}

/** What people settle. */
export const keepingDecisions = {
  releaseQuarantined,
  rejectQuarantined: ({ events, reason }: { readonly events: readonly string[]; readonly reason: string }, asking: Asking) =>
    atDesk(asking, (desk) => reject(desk, { which: { names: events }, reason, actor: asking.principal.subject })),
  retryParked,
} satisfies Answers;
