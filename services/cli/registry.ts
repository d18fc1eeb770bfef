import type { Authorize } from "../api/index.ts";
import { type HubOrigin, messageOf, REGISTRY_DEVICE, TributaryError } from "../core/index.ts";
import {
  type Casters,
  createGate,
  type Finding,
  formsOf,
  type Gate,
  type Registry,
  type RegistryHub,
  type SchemaStore,
} from "../gate/index.ts";
import { openRegistry } from "../gate/node.ts";
import { type Doorkeeper, type Gatekeeper, MAY_READ_SCHEMAS, mustMay, SCOPE_SCHEMAS } from "../http/index.ts";
import { declareHubOrg, hubDeclarations, type Log, openHubOrigin, openLog, signNotes } from "../log/index.ts";
import { narrowColumns, type PersonalScope, personalScopes } from "../merge/engine.ts";
import { castersOf, type Folders, foldersOf, loadForms, loadViews } from "./folders.ts";
import { hubRing } from "./keys.ts";
import { hubDir } from "./paths.ts";
import { OWN_SUBJECTS } from "./program.ts";
import { runningHub } from "./reach.ts";
import type { HubState } from "./state.ts";

/** A hub's registry and the gate over it. */
export interface HubGate {
  readonly registry: Registry;
  readonly gate: Gate;
}

/** The hub for which somebody registers: its folder, and its organisation (empty: it is not known). */
export interface Speaker {
  readonly dir: string;
  readonly org: string;
}

/**
 * Opens the registry in a hub's log. Casters are code, and come from the schema folder. Close the registry after use. `speaker`: for whoever registers; without it the registry is only
 * read.
 */
export async function openHubGate(
  log: Log,
  folders: Folders,
  say: (event: Record<string, unknown>) => void = () => {},
  speaker: Speaker | null = null,
): Promise<HubGate> {
  const casters = await castersOf(folders);
  const registry = await openRegistry(log.journal, {
    casters,
    onInterruption: (message) => say({ event: "registry-interrupted", message }),
    onBroken: (message) => say({ event: "schema-unusable", message }),
    onUnannounced: (message) => say({ event: "schemas-unannounced", message }),
    ...(speaker === null || speaker.org === "" ? {} : await speaking(log, speaker)),
  });
  return { registry, gate: gateOver(registry, casters) };
}

/** What a registry needs to write for a hub: who has the say, and where its events go. */
async function speaking(log: Log, { dir, org }: Speaker): Promise<{ readonly hub: RegistryHub; readonly origin: HubOrigin }> {
  const ring = await hubRing(dir);
  // Whose origins hold the log's events about schemas is read from there. A log that has declared another hub stays with it until this one opens its door.
  if ((await hubDeclarations(log.journal)).length === 0) await declareHubOrg(log.journal, org);
  return {
    hub: { org, declared: await hubDeclarations(log.journal), common: OWN_SUBJECTS },
    origin: openHubOrigin({ log, org, device: REGISTRY_DEVICE, sign: (hub, run) => signNotes(ring.state().signer, hub, run) }),
  };
}

/** How long a process waits before it writes the events of what another one has registered, which does that by itself unless it was stopped. */
const OTHERS_MS = 2_000;

/** Sees to it, while a process runs, that what anybody registers gets its events. Returns what ends it. */
export function keepAnnounced(registry: Registry, say: (event: Record<string, unknown>) => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  const soon = (): void => {
    clearTimeout(timer);
    timer = setTimeout(announce, OTHERS_MS);
    timer.unref();
  };
  const announce = (): void => {
    registry.announce().catch((error: unknown) => {
      say({ event: "schemas-unannounced", message: messageOf(error) });
      soon();
    });
  };
  const stop = registry.onChange(soon);
  soon();
  return () => {
    stop();
    clearTimeout(timer);
  };
}

/** Runs `work` with the registry of a data directory's hub, to register for it. */
export async function withHubRegistry<T>(data: string | undefined, work: (registry: Registry) => Promise<T>): Promise<T> {
  const dir = hubDir(data);
  const { eventstoreUrl, org } = await runningHub(data, ["eventstore"]);
  await using log = openLog(eventstoreUrl);
  const { registry } = await openHubGate(log, foldersOf(data), undefined, { dir, org });
  try {
    return await work(registry);
  } finally {
    registry.close();
  }
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

/**
 * Who may do what over HTTP: reading takes the right to read schemas or, of a site, to send events; everything else takes the right to write schemas. Without `gate`, which
 * knows people, only tokens of the hub's own sites and tools count.
 */
export const authorizeBy =
  (keeper: Doorkeeper, gate: Gatekeeper | null = null): Authorize =>
  async (authorization, writes) => {
    const atMs = Date.now();
    const principal = gate === null ? null : await gate.admit(authorization, atMs);
    if (principal?.kind === "person") {
      mustMay(principal, writes ? "schemas:write" : "schemas:read");
      return { actor: principal.subject };
    }
    const { subject } = await keeper.admit(authorization, atMs, writes ? SCOPE_SCHEMAS : MAY_READ_SCHEMAS);
    return { actor: subject };
  };

export const gateOver = (registry: Registry, casters: Casters): Gate =>
  createGate(registry, { casters, refresh: (subject) => registry.refresh(subject) });

/**
 * Registers what a schema folder has and the registry lacks, in an order in which each schema finds those it refers to, and sees to it that others learn of all that is registered.
 * Returns what is new. `onProposed`: another hub has the say over a subject, so what is new of it is a proposal.
 * Throws `schema-incompatible` with the findings, `schema-conflict` where a file differs from what is registered under its number.
 */
export async function registerFolder(
  registry: Registry,
  folder: SchemaStore,
  actor: string,
  onProposed: (subject: string, authority: string) => void = () => {},
): Promise<string[]> {
  const added: string[] = [];
  const proposed = new Set<string>();
  let waiting = folder.subjects().flatMap((subject) => folder.versions(subject));
  while (waiting.length > 0) {
    const ready = waiting.filter(({ references }) =>
      references.every(({ subject, version }) => registry.versions(subject)[version - 1] !== undefined),
    );
    // What refers to a proposal waits with it.
    if (ready.length === 0 && proposed.size > 0) break;
    if (ready.length === 0)
      throw new TributaryError("schema-malformed", "schemas refer to one another in a circle", "Remove one of the references.");
    for (const { subject, version, kind, text, references } of ready) {
      // A hub that starts again already has this version: there is nothing to read, compile and compare.
      if (registry.versions(subject)[version - 1]?.text === text) continue;
      // Versions after a proposal are none either, until it is registered.
      if (proposed.has(subject)) continue;
      const outcome = await registry.register(subject, { kind, text, references }, { actor, version, isOneOfMany: true });
      if (outcome.kind === "incompatible") throw incompatible(subject, version, outcome.findings);
      if (outcome.kind === "proposed") {
        proposed.add(subject);
        onProposed(subject, outcome.authority);
      } else if (outcome.isNew) added.push(`${subject}@${version}`);
    }
    waiting = waiting.filter((schema) => !ready.includes(schema));
  }
  // Where that fails, the hub's door does it later; what is registered is registered.
  await registry.announce().catch(() => {});
  return added;
}

export const registerProjectSchemas = (
  registry: Registry,
  folders: Folders,
  actor: string,
  onProposed?: (subject: string, authority: string) => void,
): Promise<string[]> => registerFolder(registry, loadForms(folders), actor, onProposed);

/**
 * Compares the project's views with the hub's forms: how many columns hold less than their forms let through; 0 where files cannot be read, which the projector reports. Throws
 * `projection-malformed` where a view tells buckets apart by personal data.
 */
export async function narrowerThan(store: SchemaStore, folders: Folders): Promise<number> {
  const views = await loadViews(folders).catch(() => []);
  const forms = formsOf(store);
  const [found] = personalScopes(views, forms);
  if (found === undefined) return narrowColumns(views, forms).length;
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
