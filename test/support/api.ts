import { openReading, type Reading } from "../../services/api/index.ts";
import type { Role } from "../../services/core/index.ts";
import {
  doorkeeper,
  fixedKeyring,
  fixedPeople,
  gatekeeper,
  issuePersonToken,
  type Listening,
  listen,
  NO_PEOPLE,
  type Surface,
} from "../../services/http/index.ts";
import { ORG, type TestHub } from "./hub.ts";

/** A hub's routes for programs, on a server of their own beside a test's hub. */
export interface TestApi extends AsyncDisposable {
  readonly url: string;
  readonly said: Record<string, unknown>[];
  /** Asks as a person of an organisation, with some roles; `null`: without a token. */
  get(path: string, who: Who | null, headers?: Readonly<Record<string, string>>): Promise<Response>;
  token(who: Who): Promise<string>;
}

export interface Who {
  readonly org: string;
  readonly roles: readonly Role[];
  readonly person?: string;
}

export interface ApiParts {
  readonly gate: ReturnType<typeof gatekeeper>;
  reading(name: string): Reading;
}

/** Serves what `surfaces` makes. */
export async function openApi(hub: TestHub, surfaces: (parts: ApiParts) => readonly Surface[]): Promise<TestApi> {
  const said: Record<string, unknown>[] = [];
  const ring = fixedKeyring({ keys: [hub.key] });
  const gate = gatekeeper({ ring, keeper: doorkeeper(ring), people: fixedPeople(NO_PEOPLE), revoked: () => {}, hub: () => ORG });
  const readings: Reading[] = [];
  const reading = (name: string): Reading => {
    const made = openReading({
      postgresUrl: hub.backends.postgres.url,
      name,
      size: 2,
      statementMs: 60_000,
      each: 1,
      waitingEach: 5,
    });
    readings.push(made);
    return made;
  };
  const server: Listening = await listen({
    ...{ host: "127.0.0.1", port: 0, info: { title: "test", version: "1" } },
    surfaces: surfaces({ gate, reading }),
    say: (event) => said.push(event),
  });
  const token = ({ org, roles, person = "amina" }: Who): Promise<string> =>
    issuePersonToken(hub.key, { person, org, roles, lifetimeS: 3600, nowMs: Date.now() });
  return {
    url: server.url,
    said,
    token,
    get: async (path, who, headers = {}) =>
      fetch(`${server.url}${path}`, {
        headers: { ...headers, ...(who === null ? {} : { authorization: `Bearer ${await token(who)}` }) },
      }),
    async [Symbol.asyncDispose]() {
      await server.close();
      for (const each of readings) await each.close();
    },
  };
}
