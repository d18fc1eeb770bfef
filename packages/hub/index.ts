/**
 * `@tributary-sync/hub`: a hub inside a program of your own. In come settings; out comes a running hub with its addresses. What `projections/` files import is
 * `@tributary-sync/hub/projections`, what reads and compares forms `@tributary-sync/hub/schemas`, and what tries events on both `@tributary-sync/hub/testing`.
 */
import { resolve } from "node:path";
import { parseListen } from "../../services/cli/addresses.ts";
import type { TributaryConfig } from "../../services/cli/settings.ts";
import { addSite } from "../../services/cli/sites.ts";
import { startHub as start } from "../../services/cli/supervise.ts";
import { withoutLogin } from "../../services/core/index.ts";

export type { TributaryConfig } from "../../services/cli/settings.ts";
export { type ErrorCode, isTributaryError, TributaryError } from "../../services/core/index.ts";

export interface StartOptions {
  /** Where the hub keeps its data; made if missing. */
  readonly data: string;
  /** The organisation whose hub it is: chosen at the first start. */
  readonly org?: string;
  /** The folders of your own forms and views. Without them, those of the last start; the hub's own are always there. */
  readonly schemas?: string;
  readonly projections?: string;
  /** Where the HTTP door listens, as `host:port`; port 0 is a free one. */
  readonly listen?: string;
  /** Where devices reach the hub. */
  readonly publicUrls?: readonly string[];
  /** Processes that share the folding. */
  readonly projectors?: number;
  /** Take nothing from devices that have no enrolled key. */
  readonly requireKeys?: boolean;
  /** Balance views against the log every so many hours. */
  readonly reconcileEveryHours?: number;
  /** Is called with what the hub's operator should know, a line at a time. */
  readonly say?: (line: string) => void;
  /** Interrupts a start that is under way. */
  readonly signal?: AbortSignal;
}

/** What a new site's people are given: a token for its devices, and a code that enrols one of them. */
export interface NewSite {
  readonly token: string;
  readonly code: string;
}

export interface RunningHub {
  readonly org: string;
  /** Where devices sync on this machine, and the servers behind the hub. */
  readonly urls: {
    readonly http: string;
    readonly nats: string;
    readonly eventstore: string;
    readonly postgres: string;
  };
  /** Rejects when a part of the hub cannot be kept running. */
  readonly failed: Promise<never>;
  /** Registers a site. `title`: its name for people; `actor`: who registers it. */
  addSite(site: string, options?: { readonly title?: string; readonly actor?: string; readonly days?: number }): Promise<NewSite>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const TOKEN_DAYS = 90;

/**
 * Starts a hub. Its workers are processes of their own; it ends with `close()`. Servers are those that TRIBUTARY_NATS_URL, TRIBUTARY_EVENTSTORE_URL and
 * TRIBUTARY_POSTGRES_URL name, else the machine's own. Throws `TributaryError`: `backend-missing`, `backend-unreachable`, `already-running`, `port-in-use` …
 *
 *   await using hub = await startHub({ data: ".tributary/hub", org: "moh", schemas: "schemas", projections: "projections" });
 *   const { token } = await hub.addSite("juba");
 */
export async function startHub(options: StartOptions): Promise<RunningHub> {
  const { data, listen, ...rest } = options;
  const dataDir = resolve(data);
  const hub = await start({ ...rest, dataDir, ...(listen === undefined ? {} : { listen: parseListen(listen) }) });
  const { state } = hub;
  return {
    org: state.org,
    urls: {
      http: state.httpUrl,
      nats: withoutLogin(state.natsUrl),
      eventstore: state.eventstoreUrl,
      postgres: state.postgresUrl,
    },
    failed: hub.failed,
    async addSite(site, { title, actor = "program", days = TOKEN_DAYS } = {}) {
      const { token, code } = await addSite(dataDir, state, { site, days, actor, ...(title === undefined ? {} : { title }) });
      return { token, code };
    },
    close: hub.close,
    [Symbol.asyncDispose]: hub.close,
  };
}

/** Gives `tributary.config.ts` its types: `export default defineConfig({ org: "moh" })`. */
export const defineConfig = (config: TributaryConfig): TributaryConfig => config;
