import { chmodSync, readFileSync, rmSync } from "node:fs";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Client } from "pg";
import { SMTPServer, type SMTPServerOptions } from "smtp-server";
import { onTestFinished } from "vitest";
import { type NotifierOptions, parseSettings, type Settings, startNotifier } from "../../services/notify/index.ts";
import { connectViews } from "../../services/views/index.ts";
import { startDatabase } from "../support/cluster.ts";
import { newDir } from "../support/home.ts";
import { WAIT_MS } from "../support/patience.ts";

const SQL = join(import.meta.dirname, "../../services/views/sql/003_notifications.sql");
export const SECRET = "a-secret-of-the-desk";

export interface Row {
  readonly id: string;
  readonly key: string;
  readonly state: string;
  readonly tries: number;
  readonly last_error: string | null;
  readonly next_try_at: Date;
  readonly sent_at: Date | null;
}

export interface Outbox {
  readonly dir: string;
  readonly url: string;
  readonly db: Client;
  connect(): Promise<Client>;
  /** Writes a notification as the projector does. */
  put(key: string, more?: { target?: string; subject?: string; body?: object; createdAt?: Date }): Promise<void>;
  rows(): Promise<readonly Row[]>;
  clear(): Promise<void>;
  close(): Promise<void>;
}

/** The outbox table on a real PostgreSQL. */
export async function openOutbox(): Promise<Outbox> {
  const dir = newDir("notify");
  // As root, PostgreSQL runs as another user, who must reach its folder.
  chmodSync(dir, 0o755);
  const server = await startDatabase(dir, { isEmpty: true });
  const connect = (): Promise<Client> => connectViews(server.url, "tributary-test-notifier");
  const db = await connectViews(server.url, "tributary-test");
  await db.query("DROP SCHEMA IF EXISTS tributary CASCADE; CREATE SCHEMA tributary");
  await db.query(readFileSync(SQL, "utf8"));
  return {
    dir,
    url: server.url,
    db,
    connect,
    async put(key, { target = "desk", subject = `Two values for ${key}`, body, createdAt = new Date() } = {}) {
      await db.query("INSERT INTO tributary.notification (key, target, subject, body, created_at) VALUES ($1, $2, $3, $4, $5)", [
        key,
        target,
        subject,
        JSON.stringify(body ?? caseOf(key)),
        createdAt,
      ]);
      await db.query("NOTIFY tributary_notification");
    },
    rows: async () => (await db.query<Row>("SELECT * FROM tributary.notification ORDER BY id")).rows,
    clear: async () => {
      await db.query("TRUNCATE tributary.notification");
    },
    async close() {
      await db.end();
      await server.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** A conflict's case as the projector writes it. */
export const caseOf = (name: string, more: object = {}) => ({
  kind: "opened",
  case: name,
  view: "beneficiaries",
  entity: { type: "beneficiary", id: "NBO-000001" },
  register: "phone",
  rule: "person decides",
  text: "Two people changed the phone without knowing of each other.",
  position: 1234,
  values: [{ value: "+211912345678" }, { value: "+211900000000" }],
  ...more,
});

export interface Post {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly atMs: number;
}

export interface Receiver {
  readonly url: string;
  readonly port: number;
  readonly posts: readonly Post[];
  /** Ends the connections under way without an answer. */
  hangUp(): void;
  /** Ends the server, so that connections are refused. */
  stop(): Promise<void>;
}

/** A real HTTP server; `answer` says what becomes of each request; the default is 200. */
export async function openReceiver(
  answer: (post: Post, response: ServerResponse, count: number) => void = (_, response) => response.end("thanks"),
  port = 0,
): Promise<Receiver> {
  const posts: Post[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const post = {
      path: request.url ?? "",
      headers: request.headers,
      body: Buffer.concat(chunks).toString("utf8"),
      atMs: performance.now(),
    };
    posts.push(post);
    answer(post, response, posts.length);
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const stop = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  onTestFinished(stop);
  const { port: actual } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${actual}/hook`, port: actual, posts, hangUp: () => server.closeAllConnections(), stop };
}

export interface MailServer {
  readonly url: string;
  readonly mails: readonly { readonly raw: string; readonly to: readonly string[] }[];
}

/** A real SMTP server. */
export async function openMailServer(options: SMTPServerOptions = {}, host = "127.0.0.1"): Promise<MailServer> {
  const mails: { raw: string; to: string[] }[] = [];
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ["STARTTLS"],
    onData(stream, session, callback) {
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => {
        mails.push({ raw: Buffer.concat(chunks).toString("utf8"), to: session.envelope.rcptTo.map(({ address }) => address) });
        callback();
      });
    },
    ...options,
  });
  server.on("error", () => {});
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  onTestFinished(() => new Promise<void>((resolve) => server.close(() => resolve())));
  const { port } = server.server.address() as AddressInfo;
  return { url: `smtp://${host}:${port}`, mails };
}

/** Settings with webhooks: the URL of each target by its name, and its other settings. */
export const webhooks = (urls: Readonly<Record<string, string>>, more: object = {}): Settings =>
  parseSettings({
    targets: Object.fromEntries(Object.entries(urls).map(([name, url]) => [name, { webhook: { url, secret: SECRET }, ...more }])),
  });

/** A notifier in a hurry: it waits tenths of seconds where others wait seconds. It ends with the test. */
export function hurriedNotifier(outbox: Outbox, settings: Settings, more: Partial<NotifierOptions> = {}) {
  const said: Record<string, unknown>[] = [];
  const notifier = startNotifier({
    connect: outbox.connect,
    settings,
    say: (event) => said.push(event),
    random: () => 0.5,
    pollMs: 50,
    firstBackoffMs: 50,
    maxBackoffMs: 400,
    sendTimeoutMs: WAIT_MS,
    ...more,
  });
  onTestFinished(() => notifier.close());
  return { notifier, said };
}
