import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { NatsConnection } from "nats";
import { afterAll, beforeAll, onTestFinished } from "vitest";
import { issueCode } from "../../services/cli/hub-keys.ts";
import { type OriginId, type PublicKey, publicKeySchema } from "../../services/core/index.ts";
import type { Field } from "../../services/field/index.ts";
import { fixedKeyring } from "../../services/http/index.ts";
import { type KeyBook, openKeyBook } from "../../services/log/index.ts";
import { connectAs } from "../support/broker.ts";
import { number, ORG, openTestHub, registration, type TestHub } from "../support/hub.ts";
import { WAIT_MS } from "../support/patience.ts";
import { all } from "../support/temp.ts";

export let hub: TestHub;
export let nc: NatsConnection;
export let book: KeyBook;
export const ring = () => fixedKeyring({ keys: [hub.key] });
export const natsUrl = (): string => hub.backends.nats.url;
export const door = (path = ""): string => `${hub.ingress.http!.url}/v1/ingress${path}`;
export const publicHalf = (): PublicKey => publicKeySchema.parse(hub.key);

/**
 * One hub for all tests of a file, with a connection to its broker and its book of keys. It takes 5 s to start, which is why the tests of
 * keys are two files and not six.
 */
export function useKeyedHub(): void {
  beforeAll(async () => {
    hub = await openTestHub();
    nc = await connectAs(natsUrl());
    // As the command line opens it, beside the processes of the hub.
    book = await openKeyBook(hub.log.journal, { signer: () => ring().state().signer });
  });
  afterAll(async () => {
    book?.close();
    await nc?.close();
    await hub?.close();
  });
}

export const codeFor = async (site: string, device?: string, days = 1): Promise<string> =>
  (await issueCode(book, ring(), { org: ORG, site, days, actor: "coordinator", ...(device === undefined ? {} : { device }) }))
    .code;
export const inLog = async (origin: string): Promise<number> => (await all(hub.log.readOrigin(origin as OriginId))).length;
export const quick = { maxTries: 1, replyTimeoutMs: WAIT_MS } as const;

/** A device that has synced once with its site's token: its key is enrolled, and it knows the hub's. */
export async function enrolled(site: string, device = "t1"): Promise<Field> {
  const field = hub.field(site, device);
  await field.append(registration(number(1)));
  await field.sync({ url: natsUrl(), token: await hub.token(site) });
  return field;
}

/** Carries messages between a device and the hub's door, and answers in the hub's place if `lie` gives an answer. */
export async function carrier(
  lie: (path: string) => { readonly status: number; readonly body: unknown } | null,
): Promise<string> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", async () => {
      const said = lie(request.url!);
      if (said !== null) {
        response.writeHead(said.status).end(typeof said.body === "string" ? said.body : JSON.stringify(said.body));
        return;
      }
      const { authorization } = request.headers;
      const headers = authorization === undefined ? {} : { authorization };
      const body = Buffer.concat(chunks);
      const answer = await fetch(hub.ingress.http!.url + request.url!, { method: "POST", body, headers });
      response.writeHead(answer.status).end(await answer.text());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
