import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { GraphqlLimits } from "../../services/api/index.ts";
import { type Database, graphqlSurface, meSurface } from "../../services/api/index.ts";
import { openApiHub } from "../../services/cli/api-hub.ts";
import type { Role } from "../../services/core/index.ts";
import { type Field, type NewEvent, openField } from "../../services/field/index.ts";
import { fixedPeople, gatekeeper, issuePersonToken, issueToken, NO_PEOPLE } from "../../services/http/index.ts";
import { defineProjection, defineSql, json, manual, map, set, text, timestamp } from "../../services/merge/index.ts";
import { gate, number, ORG, openTestHub, registration, SCHEMAS, stateOf, type TestHub, update } from "./hub.ts";

/** Words that stand in what each organisation writes of its own. */
export const [AMBER, BRICK] = ["amberword", "brickword"];
export const OTHER = "health";
/** Whoever moves there is parked. */
const PARKED = "nowhere land";

export const phones = defineProjection({
  name: "phones",
  entity: "beneficiary",
  columns: { phone: text({ index: true }), given_name: text(), extra: json(), seen_at: timestamp() },
  resolve: { phone: manual },
  events: { "beneficiary.registered": set(), "beneficiary.updated": set() },
  invariants: { not_zero: { problem: ({ phone }) => (phone === "+254700000000" ? "it is no number" : null) } },
});
/** A view that cannot take some events: their entities are parked. */
const risky = defineProjection({
  name: "risky",
  entity: "beneficiary",
  columns: { village: text() },
  events: {
    "beneficiary.registered": set("village"),
    "beneficiary.updated": map(({ data }) => {
      if (data.village === PARKED) throw new Error(`there is no place for ${String(data.given_name)}`);
      return { village: data.village ?? null };
    }),
  },
});
const names = defineSql({ name: "names", sql: "SELECT id, given_name FROM views.beneficiaries", needs: ["beneficiaries"] });

/** The answer to a question. */
export interface Told {
  readonly status: number;
  readonly text: string;
  readonly data: Record<string, unknown> | null;
  readonly errors: readonly {
    readonly message: string;
    readonly path?: readonly (string | number)[];
    readonly extensions?: { readonly code?: string; readonly hint?: string };
  }[];
}

/** A hub with GraphQL at its door, and people of two organisations who ask it. */
export interface ApiTestHub extends TestHub {
  readonly url: string;
  /** How often the routes have asked the database anything. */
  asks(): number;
  person(org: string, role: Role, name?: string): Promise<string>;
  /** Asks as whoever has the token. */
  ask(token: string, query: string, variables?: Record<string, unknown>): Promise<Told>;
  /** Sends events from a device of an organisation, and waits until they are folded. */
  send(org: string, events: readonly NewEvent[], options?: { readonly keepsInvalid?: boolean }): Promise<void>;
}

export async function openApiTestHub({ limits }: { readonly limits?: Partial<GraphqlLimits> } = {}): Promise<ApiTestHub> {
  const closers: (() => Promise<void>)[] = [];
  let count = 0;
  const hub = await openTestHub({
    schemas: SCHEMAS,
    announces: true,
    views: [phones, risky, names],
    also: ({ dir, backends, key, log, ring, registry, gate: hubGate, projections, say }, keeper, revoked) => {
      if (registry === null) throw new Error("this hub has a registry");
      writeFileSync(join(dir, "signing-key.json"), JSON.stringify(key));
      // By the number of no process, it is a hub that runs elsewhere: its servers are asked, not its folder.
      const state = { ...stateOf(backends), pid: 0 };
      const api = openApiHub({ dir, state, log, gate: hubGate, registry, views: () => projections, say });
      closers.push(() => api.close());
      const people = gatekeeper({ ring, keeper, people: fixedPeople(NO_PEOPLE), revoked, hub: () => ORG, say });
      return [
        meSurface(people),
        graphqlSurface({ ...api, reading: counted(api.reading), ...(limits === undefined ? {} : { limits }) }, people),
      ];
    },
  });
  function counted({ read, decide, asHub, close }: Database): Database {
    return {
      read: (...question) => {
        count++;
        return read(...question);
      },
      decide: (...question) => {
        count++;
        return decide(...question);
      },
      asHub: (work) => {
        count++;
        return asHub(work);
      },
      close,
    };
  }
  const devices = new Map<string, Field>();
  const device = (org: string): Field => {
    const known =
      devices.get(org) ??
      openField({ path: join(hub.dir, `${org}.db`), name: { org, site: "base", device: "t1" }, schemas: gate });
    devices.set(org, known);
    return known;
  };
  const url = hub.ingress.http?.url ?? "";
  return {
    ...hub,
    url,
    asks: () => count,
    person: (org, role, person = `${role}-of-${org}`) =>
      issuePersonToken(hub.key, { person, org, roles: [role], lifetimeS: 3_600, nowMs: Date.now() }),
    ask: (token, query, variables = {}) =>
      asked(`${url}/graphql`, {
        method: "POST",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        body: JSON.stringify({ query, variables }),
      }),
    async send(org, events, { keepsInvalid = false } = {}) {
      const field = device(org);
      for (const event of events) await field.append(event, { onInvalid: keepsInvalid ? "keep" : "refuse" });
      const token = await issueToken(hub.key, { org, site: "base", lifetimeS: 3_600, nowMs: Date.now() });
      await field.sync({ url: hub.backends.nats.url, token });
      await hub.projected();
    },
    async close() {
      for (const field of devices.values()) field.close();
      await hub.close();
      for (const close of closers) await close();
    },
  };
}

export async function asked(url: string, request: RequestInit): Promise<Told> {
  const response = await fetch(url, request);
  const text = await response.text();
  const body = JSON.parse(text) as Partial<Told>;
  return { status: response.status, text, data: body.data ?? null, errors: body.errors ?? [] };
}

const PROPOSED = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  tributary: { entity: "well", events: ["well.dug"] },
  type: "object",
};

/** People of both organisations, conflicts, a broken invariant, a quarantined event, a parked entity, a proposed schema and an owed purge at each. */
export async function fill(hub: ApiTestHub): Promise<void> {
  const of = async (org: string, first: number, word: string): Promise<void> => {
    const named = { given_name: word };
    await hub.send(org, [
      registration(number(first), { ...named, phone: `+25470000000${first % 10}`, household_size: 5 }),
      registration(number(first + 1), { ...named, phone: "+254700000077", household_size: 2 }),
      registration(number(first + 2), { ...named, phone: "+254700000000", household_size: 9 }),
    ]);
    await hub.send(org, [update(number(first + 1), { village: PARKED, given_name: word })]);
    await hub.registry?.propose(
      `wanted-by-${org}`,
      1,
      { kind: "json", text: JSON.stringify({ ...PROPOSED, title: word }), references: [] },
      `${org}.base.t1`,
    );
    await hub.db.query("INSERT INTO tributary.debt (device, bucket, seal) VALUES ($1, $2, 1)", [
      `${org}.base.t1`,
      `bucket of ${word}`,
    ]);
    await hub.send(org, [update(number(first + 3), { household_size: 900, village: word })], { keepsInvalid: true });
  };
  await of(ORG, 1, AMBER);
  await of(OTHER, 11, BRICK);
  // Each writes of the other's entity, which makes a conflict there.
  await hub.send(ORG, [update(number(11), { phone: "+254700000102" })]);
  await hub.send(OTHER, [update(number(1), { phone: "+254700000112" })]);
}
