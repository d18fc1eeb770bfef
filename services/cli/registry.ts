import type { Authorize } from "../api/index.ts";
import { TributaryError } from "../core/index.ts";
import { type Casters, createGate, type Finding, formsOf, type Gate, type Registry, type SchemaStore } from "../gate/index.ts";
import { openRegistry } from "../gate/node.ts";
import { type Doorkeeper, MAY_READ_SCHEMAS, SCOPE_SCHEMAS } from "../http/index.ts";
import { type Log, openLog } from "../log/index.ts";
import { narrowColumns, type PersonalScope, personalScopes } from "../merge/engine.ts";
import { castersOf, type Folders, foldersOf, loadForms, loadViews } from "./folders.ts";
import { hubDir } from "./paths.ts";
import { runningHub } from "./reach.ts";
import type { HubState } from "./state.ts";

/** A hub's registry and the gate over it. */
export interface HubGate {
  readonly registry: Registry;
  readonly gate: Gate;
}

/** Opens the registry in a hub's log. Casters are code, and come from the schema folder. Close the registry after use. */
export async function openHubGate(
  log: Log,
  folders: Folders,
  say: (event: Record<string, unknown>) => void = () => {},
): Promise<HubGate> {
  const casters = await castersOf(folders);
  const registry = await openRegistry(log.journal, {
    casters,
    onInterruption: (message) => say({ event: "registry-interrupted", message }),
    onBroken: (message) => say({ event: "schema-unusable", message }),
  });
  return { registry, gate: gateOver(registry, casters) };
}

/** Runs `work` with the registry and gate of a data directory's hub. */
export async function withHubGate<T>(
  data: string | undefined,
  work: (hub: HubGate & { readonly dir: string; readonly state: HubState }) => Promise<T>,
): Promise<T> {
  const dir = hubDir(data);
  const state = await runningHub(data, ["eventstore"]);
  const log = openLog(state.eventstoreUrl);
  try {
    const hub = await openHubGate(log, foldersOf(data));
    try {
      return await work({ ...hub, dir, state });
    } finally {
      hub.registry.close();
    }
  } finally {
    await log.close();
  }
}

/** Who may do what over HTTP: reading takes the right to read schemas or to send events; everything else takes the right to write schemas. */
export const authorizeBy =
  (keeper: Doorkeeper): Authorize =>
  async (authorization, writes) => {
    const { subject } = await keeper.admit(authorization, Date.now(), writes ? SCOPE_SCHEMAS : MAY_READ_SCHEMAS);
    return { actor: subject };
  };

export const gateOver = (registry: Registry, casters: Casters): Gate =>
  createGate(registry, { casters, refresh: (subject) => registry.refresh(subject) });

/**
 * Registers what a schema folder has and the registry lacks, in an order in which each schema finds those it refers to. Returns what is new.
 * Throws `schema-incompatible` with the findings, `schema-conflict` where a file differs from what is registered under its number.
 */
export async function registerFolder(registry: Registry, folder: SchemaStore, actor: string): Promise<string[]> {
  const added: string[] = [];
  let waiting = folder.subjects().flatMap((subject) => folder.versions(subject));
  while (waiting.length > 0) {
    const ready = waiting.filter(({ references }) =>
      references.every(({ subject, version }) => registry.versions(subject)[version - 1] !== undefined),
    );
    if (ready.length === 0)
      throw new TributaryError("schema-malformed", "schemas refer to one another in a circle", "Remove one of the references.");
    for (const { subject, version, kind, text, references } of ready) {
      // A hub that starts again already has this version: there is nothing to read, compile and compare.
      if (registry.versions(subject)[version - 1]?.text === text) continue;
      const outcome = await registry.register(subject, { kind, text, references }, { actor, version });
      if (outcome.kind === "incompatible") throw incompatible(subject, version, outcome.findings);
      if (outcome.isNew) added.push(`${subject}@${version}`);
    }
    waiting = waiting.filter((schema) => !ready.includes(schema));
  }
  return added;
}

export const registerProjectSchemas = (registry: Registry, folders: Folders, actor: string): Promise<string[]> =>
  registerFolder(registry, loadForms(folders), actor);

/** How many columns of the project's views hold less than their forms let through; 0 where files cannot be read, which the projector reports. */
export async function narrowerThan(store: SchemaStore, folders: Folders): Promise<number> {
  const views = await loadViews(folders).catch(() => []);
  return narrowColumns(views, formsOf(store)).length;
}

/** Throws `projection-malformed` where a view tells buckets apart by personal data. Where files cannot be read, the projector reports it. */
export async function mustKeepScopesImpersonal(store: SchemaStore, folders: Folders): Promise<void> {
  const views = await loadViews(folders).catch(() => []);
  const [found] = personalScopes(views, formsOf(store));
  if (found === undefined) return;
  const { view, column, subject, member } = found;
  throw new TributaryError(
    "projection-malformed",
    personalWords(found),
    `Take ${column} out of scopeBy of ${view}, or ${member} out of tributary.personal of the form ${subject}.`,
  );
}

/** A scope column that follows from personal data, in words. */
export const personalWords = ({ view, column, subject, member }: PersonalScope): string =>
  `${view} tells buckets apart by ${column}, which follows from ${member}: the form ${subject} says that this is personal data, and the name of a bucket would give it away`;

export const incompatible = (subject: string, version: number, findings: readonly Finding[]): TributaryError =>
  new TributaryError(
    "schema-incompatible",
    `${subject} version ${version} cannot be registered:\n${findings.map((finding) => findingLines(finding).join("\n")).join("\n")}`,
    "Nothing was registered. `tributary schema check schemas/ --against hub` shows the same before you try.",
  );

/** A finding in words, a few lines. */
export function findingLines(
  { direction, against, rule, message, path, againstPath, counterexample, hint }: Finding,
  indent = "  ",
): string[] {
  const who =
    direction === "backward"
      ? `the new version cannot read what version ${against} writes`
      : `version ${against} cannot read what the new version writes`;
  return [
    `${indent}✗ ${who}`,
    `${indent}  rule     ${rule}, at ${path || "/"} (version ${against}: ${againstPath || "/"})`,
    `${indent}  why      ${message}`,
    counterexample === null
      ? `${indent}  example  none could be made: nobody has shown that it breaks, nor that it does not`
      : `${indent}  example  ${JSON.stringify(counterexample.document)}`,
    ...(counterexample === null ? [] : [`${indent}           read by the other: ${counterexample.problem}`]),
    `${indent}  instead  ${hint}`,
  ];
}
