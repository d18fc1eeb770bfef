import type { Msg, NatsConnection } from "nats";
import { afterAll, beforeAll } from "vitest";
import { writeHubKeys } from "../../services/cli/keys.ts";
import { followLogins } from "../../services/cli/logins.ts";
import { addSite } from "../../services/cli/sites.ts";
import type { HubState } from "../../services/cli/state.ts";
import { inboxPrefix, type OriginId, withoutLogin } from "../../services/core/index.ts";
import { nkeyLogin, readCode, signerOf, siteLogin } from "../../services/core/node.ts";
import type { RegisteredSite } from "../../services/desk/index.ts";
import type { Field } from "../../services/field/index.ts";
import { deviceKey } from "../../services/field/keys.ts";
import { connectAs } from "../support/broker.ts";
import { number, ORG, openTestHub, registration, stateOf, type TestHub } from "../support/hub.ts";
import { all, eventually } from "../support/temp.ts";

/** Long enough for a local server to answer, short enough for many questions that get no answer. */
export const ANSWER_MS = 500;

export let hub: TestHub;
export let state: HubState;
export let url: string;
/** The hub's own login: whoever has it reads and writes all that the broker carries. */
export let wire: NatsConnection;
/** Raw clients, closed at the end. */
const clients: NatsConnection[] = [];

/** One hub for all tests of a file, whose broker has the hub's configuration, and whose logins come and go as a running hub has them. */
export function useAttackedHub(): void {
  let logins: Awaited<ReturnType<typeof followLogins>>;
  beforeAll(async () => {
    hub = await openTestHub();
    writeHubKeys(hub.dir, [hub.key]);
    const { nats, eventstore } = hub.backends;
    state = stateOf(hub.backends, hub.ingress.http!.url);
    url = withoutLogin(nats.url);
    wire = await connectAs(nats.url);
    logins = await followLogins(hub.dir, eventstore.url, () => {});
  });
  afterAll(async () => {
    for (const client of clients) await client.close();
    await logins?.close();
    await wire?.close();
    await hub?.close();
  });
}

export const add = (site: string, more: { device?: string } = {}): Promise<RegisteredSite> =>
  addSite(hub.dir, state, { site, days: 1, actor: "coordinator", ...more });
export const inLog = async (origin: string): Promise<number> => (await all(hub.log.readOrigin(origin as OriginId))).length;
export const streamOf = async (name: string): Promise<{ messages: number; created: unknown }> => {
  const info = await (await wire.jetstreamManager()).streams.info(name);
  return { messages: info.state.messages, created: info.created };
};

/** A device that enrolled under a token, over NATS, and has synced one event. */
export async function enrolled(site: RegisteredSite, device = "t1"): Promise<Field> {
  const field = hub.field(site.site, device);
  await field.append(registration(number(1)));
  await field.sync({ url, token: site.token });
  return field;
}

/** A raw client, with a login and whatever else an attacker likes. */
export async function raw(site: string, login: Parameters<typeof connectAs>[2]): Promise<NatsConnection> {
  const nc = await connectAs(url, {}, { inboxPrefix: inboxPrefix(ORG, site), ...login });
  clients.push(nc);
  return nc;
}
export const asToken = (site: string, secret: string): Promise<NatsConnection> => raw(site, siteLogin(secret, ORG, site));
export const asKey = (site: string, field: Field): Promise<NatsConnection> =>
  raw(site, { authenticator: nkeyLogin(signerOf(deviceKey(field.store))) });

export const WAYS = ["token", "one-time code", "device's own key"] as const;
/** A login of a new site, of each kind that the hub hands out. */
export async function loginBy(way: (typeof WAYS)[number], site: string): Promise<{ nc: NatsConnection; added: RegisteredSite }> {
  const added = await add(site);
  if (way === "token") return { added, nc: await asToken(site, added.token) };
  if (way === "one-time code") return { added, nc: await asToken(site, readCode(added.code)!) };
  const field = await enrolled(added);
  return { added, nc: await eventually("the key's login", () => asKey(site, field)) };
}

export const asks = (nc: NatsConnection, subject: string, body = ""): Promise<unknown> =>
  nc.request(subject, body, { timeout: ANSWER_MS });

/** All that goes over the broker while `work` goes on. */
export async function tapped(work: () => Promise<unknown>): Promise<Msg[]> {
  const seen: Msg[] = [];
  const tap = wire.subscribe(">", { callback: (_, message) => seen.push(message) });
  await wire.flush();
  await work();
  await wire.flush();
  tap.unsubscribe();
  return seen;
}
export const textOf = ({ data, headers: about, reply }: Msg): string =>
  `${new TextDecoder().decode(data)} ${about?.toString() ?? ""} ${reply ?? ""}`;

/** Posts to the hub's door, as anybody may. */
export async function post(
  path: string,
  body: Uint8Array | string,
  token?: string,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`${state.httpUrl}/v1/ingress${path}`, {
    method: "POST",
    body: body as string,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}
