import { chmodSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Client } from "pg";
import { registrySurface } from "../../services/api/index.ts";
import { type DoorPulls, openPulls } from "../../services/cli/door-pulls.ts";
import { settledIn } from "../../services/cli/door-views.ts";
import { OWN_SUBJECTS } from "../../services/cli/program.ts";
import { loadProjections } from "../../services/cli/projections.ts";
import { authorizeBy, gateOver, registerFolder } from "../../services/cli/registry.ts";
import type { HubState } from "../../services/cli/state.ts";
import { REGISTRY_DEVICE } from "../../services/core/index.ts";
import { type Field, type NewEvent, openField, type SyncResult } from "../../services/field/index.ts";
import { createGate, type Gate, NO_CASTERS, type Registry } from "../../services/gate/index.ts";
import { loadCasters, loadSchemas, openRegistry } from "../../services/gate/node.ts";
import {
  type Doorkeeper,
  type HubKey,
  issueToken,
  type JWK,
  type Keyring,
  keyring,
  makeKey,
  SCOPE_APPEND,
  SCOPE_ENROL,
  type Surface,
} from "../../services/http/index.ts";
import { type Ingress, type IngressOptions, startIngress } from "../../services/ingress/index.ts";
import type { Backends } from "../../services/local/index.ts";
import { type Log, openHubOrigin, openLog, signNotes } from "../../services/log/index.ts";
import { fitsViews, type View } from "../../services/merge/engine.ts";
import { type Projector, startProjector } from "../../services/projector/index.ts";
import { connectViews } from "../../services/views/index.ts";
import { newDir } from "./home.ts";
import { startServers } from "./servers.ts";
import { eventually } from "./temp.ts";

const ROOT = join(import.meta.dirname, "../..");
export const SCHEMAS = join(ROOT, "schemas");
export const gate: Gate = createGate(loadSchemas(SCHEMAS));
export const ORG = "relief";

/** What a hub on these servers writes down for the commands. */
export const stateOf = ({ nats, eventstore, postgres }: Backends, httpUrl = ""): HubState => ({
  pid: process.pid,
  org: ORG,
  natsUrl: nats.url,
  eventstoreUrl: eventstore.url,
  postgresUrl: postgres.url,
  httpUrl,
});

/** What further routes at a door may need of its hub. */
export interface DoorParts extends Pick<TestHub, "dir" | "backends" | "key" | "log" | "registry" | "gate" | "projections"> {
  readonly ring: Keyring;
  readonly say: (event: Record<string, unknown>) => void;
}

/** A hub on real servers, in this process but for the servers. */
export interface TestHub {
  readonly dir: string;
  readonly backends: Backends;
  readonly key: JWK;
  /** The keys that the hub's processes read, as from a file. */
  keys: readonly HubKey[];
  readonly log: Log;
  readonly db: Client;
  readonly projections: readonly View[];
  readonly said: Record<string, unknown>[];
  readonly registry: Registry | null;
  readonly gate: Gate;
  ingress: Ingress;
  projector: Projector;
  startIngress(requireKeys?: boolean): Promise<Ingress>;
  startProjector(projections?: readonly View[], options?: { readonly mayBuild?: boolean }): Promise<Projector>;
  token(site: string, more?: { device?: string; lifetimeS?: number; nowMs?: number }): Promise<string>;
  field(site: string, device?: string, options?: { now?: () => number; path?: string; schemas?: string }): Field;
  /** Releases or rejects quarantined events, as the hub's operators do. */
  settle(events: readonly NewEvent[]): Promise<SyncResult>;
  /** Waits until all that the log holds has been projected. */
  projected(): Promise<void>;
  close(): Promise<void>;
}

/**
 * `schemas`: a folder to register at the start; then the hub's gate is over its registry, and `hub.registry` is there. `views`: beside the project's own.
 * `isNarrow`: the door looks at what the views' columns can hold, as a hub's door does; without it, the fold meets what they cannot.
 * `announces`: what is registered becomes events, as at a hub that was started by command.
 * `also`: further routes at its door.
 * `servesPulls`: its doors answer pulls from PostgreSQL, for the views that it folds.
 * Its event store runs in this process, and its database stands in a server that other tests use too (`servers.ts`): tests that kill either start servers of their own.
 */
export async function openTestHub({
  schemas,
  views = [],
  isNarrow = false,
  announces = false,
  servesPulls = false,
  also = null,
}: {
  readonly schemas?: string;
  readonly views?: readonly View[];
  readonly isNarrow?: boolean;
  readonly announces?: boolean;
  readonly servesPulls?: boolean;
  readonly also?: ((parts: DoorParts, ...known: Parameters<NonNullable<IngressOptions["also"]>>) => readonly Surface[]) | null;
} = {}): Promise<TestHub> {
  const dir = newDir("hub");
  // As root, PostgreSQL runs as another user, who must reach its folder.
  chmodSync(dir, 0o755);
  const backends = await startServers(dir);
  const key = await makeKey("test");
  const log = openLog(backends.eventstore.url);
  const casters = schemas === undefined ? NO_CASTERS : await loadCasters(schemas);
  const first: readonly HubKey[] = [key];
  let hub: TestHub | null = null;
  const ring = keyring(() => hub?.keys ?? first);
  const registry =
    schemas === undefined ? null : await openRegistry(log.journal, { casters, ...(announces ? speaking(log, ring) : {}) });
  if (registry !== null) await registerFolder(registry, loadSchemas(schemas!), "test");
  const hubGate = registry === null ? gate : gateOver(registry, casters);
  const projections = [...(await loadProjections(join(ROOT, "projections"))), ...views];
  const said: Record<string, unknown>[] = [];
  const say = (event: Record<string, unknown>): void => {
    said.push(event);
  };
  const fields: Field[] = [];
  const ingresses: Ingress[] = [];
  const projectors: Projector[] = [];
  const pulls: DoorPulls | null = servesPulls
    ? openPulls({ postgresUrl: backends.postgres.url, log, gate: hubGate, views: () => projections, say })
    : null;
  const begin = async (requireKeys = false): Promise<Ingress> => {
    const ingress = await startIngress({
      org: "relief",
      natsUrl: backends.nats.url,
      log,
      gate: hubGate,
      ...(registry === null ? {} : { registry }),
      ...(isNarrow ? { fits: fitsViews(projections, hubGate.read) } : {}),
      keys: ring,
      also: (keeper: Doorkeeper, revoked) => [
        ...(announces && registry !== null ? [registrySurface(registry, authorizeBy(keeper))] : []),
        ...(also?.({ dir, backends, key, log, ring, registry, gate: hubGate, projections, say }, keeper, revoked) ?? []),
      ],
      requireKeys,
      settled: settledIn(() => hub?.db ?? null),
      ...(pulls === null ? {} : { pulls }),
      listen: { host: "127.0.0.1", port: 0 },
      say,
    });
    ingresses.push(ingress);
    return ingress;
  };
  const project = async (
    which: readonly View[] = projections,
    options: { readonly mayBuild?: boolean } = {},
  ): Promise<Projector> => {
    const projector = await startProjector({
      postgresUrl: backends.postgres.url,
      log,
      gate: hubGate,
      projections: which,
      ...options,
      say,
    });
    projectors.push(projector);
    return projector;
  };
  const made: TestHub = {
    dir,
    backends,
    key,
    keys: first,
    log,
    projections,
    said,
    registry,
    gate: hubGate,
    db: await connectViews(backends.postgres.url, "tributary-test"),
    ingress: await begin(),
    projector: await project(),
    startIngress: begin,
    startProjector: project,
    token: (site, { device, lifetimeS = 3600, nowMs = Date.now() } = {}) =>
      issueToken(key, { org: ORG, site, lifetimeS, nowMs, hub: [key.x!], ...(device === undefined ? {} : { device }) }),
    field(site, device = "t1", { now, path, schemas: folder } = {}) {
      const field = openField({
        path: path ?? join(dir, `${site}-${device}.db`),
        name: { org: ORG, site, device },
        schemas: folder ?? gate,
        ...(now === undefined ? {} : { now }),
      });
      fields.push(field);
      return field;
    },
    async settle(events) {
      const desk = openField({
        path: join(dir, "console.db"),
        name: { org: ORG, site: "hub", device: "console" },
        schemas: hubGate,
      });
      try {
        await desk.appendMany(events);
        const scopes = [SCOPE_APPEND, SCOPE_ENROL];
        const token = await issueToken(key, { org: ORG, site: "hub", lifetimeS: 300, nowMs: Date.now(), hub: [key.x!], scopes });
        return await desk.sync({ url: backends.nats.url, token });
      } finally {
        desk.close();
      }
    },
    async projected() {
      let last = -1n;
      for await (const { position } of log.readAll()) last = position;
      await eventually("the projection of the whole log", async () => {
        const { rows } = await made.db.query<{ position: string | null }>("SELECT position FROM tributary.checkpoint");
        return BigInt(rows[0]?.position ?? -1) >= last;
      });
    },
    async close() {
      for (const field of fields) field.close();
      await Promise.all(projectors.map((projector) => projector.close()));
      await Promise.all(ingresses.map((ingress) => ingress.close()));
      await pulls?.close();
      await made.db.end();
      registry?.close();
      await log.close();
      await backends.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
  hub = made;
  return made;
}

/** What a registry needs to write events for a hub. */
export const speaking = (log: Log, ring: Keyring) => ({
  hub: { org: ORG, declared: [], common: OWN_SUBJECTS },
  origin: openHubOrigin({
    log,
    org: ORG,
    device: REGISTRY_DEVICE,
    sign: (id, run) => signNotes(ring.state().signer, id, run),
  }),
});

/** A beneficiary's registration, for tests that need one. */
export const registration = (id: string, more: Record<string, string | number> = {}) => ({
  type: "beneficiary.registered",
  entity: { type: "beneficiary", id },
  actor: "tester",
  data: { registration_no: id, given_name: "Awɛŋ", sex: "female", registered_on: "2026-01-05", ...more },
});

export const update = (id: string, data: Record<string, string | number | null>) => ({
  type: "beneficiary.updated",
  entity: { type: "beneficiary", id },
  actor: "tester",
  data,
});

/** A registration number from a small number. */
export const number = (n: number): string => `TST-${String(n).padStart(6, "0")}`;
