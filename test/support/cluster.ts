import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Backend } from "../../services/local/backend.ts";
import { containerEngine } from "../../services/local/engine.ts";
import { startPostgres } from "../../services/local/postgres.ts";
import { connectViews, migrate } from "../../services/views/index.ts";
import { newDir } from "./home.ts";
import { eventually } from "./temp.ts";

/*
 * A fresh PostgreSQL cluster takes `initdb` 1.3 s of processor time, and a third of the test files want one. It is made once a run, and copied. Tests of how a
 * cluster is made use folders of their own.
 *
 * To copy, start and end a cluster takes 0.9 s more, and to migrate it 0.3 s. Tests in which PostgreSQL only answers have databases of their own in a server that
 * all files share. It need not keep anything: who ends or kills a server has one of his own, with the settings of a hub.
 */
const VARIABLE = "TRIBUTARY_TEST_CLUSTER";
const SHARED = "TRIBUTARY_TEST_POSTGRES";

/** Of the shared server: a database that is migrated, and otherwise as a hub finds it at its first start. */
const MIGRATED = "migrated";

/** Four files at once, with two hubs each. */
const SETTINGS = { max_connections: "400", fsync: "off", full_page_writes: "off" };

const databaseAt = (url: string, name: string): string => url.replace(/\/[^/]*$/, `/${name}`);

/** Vitest's global set-up: makes the cluster, starts the shared server on a copy of it, and removes both after the last test. */
export default async function setup(): Promise<(() => Promise<void>) | undefined> {
  if ((process.env.TRIBUTARY_POSTGRES_URL ?? "") !== "" || (await containerEngine()) !== null) return undefined;
  const dir = openDir("cluster");
  await (await startPostgres({ dataDir: dir })).close();
  process.env[VARIABLE] = dir;
  const sharedDir = openDir("shared");
  withCluster(sharedDir);
  const server = await startPostgres({ dataDir: sharedDir, settings: SETTINGS });
  await onServer(server.url, `CREATE DATABASE ${MIGRATED}`);
  const db = await connectViews(databaseAt(server.url, MIGRATED), "tributary-test");
  await migrate(db);
  await db.end();
  process.env[SHARED] = server.url;
  return async () => {
    await server.close();
    for (const made of [dir, sharedDir]) rmSync(made, { recursive: true, force: true });
  };
}

/** A folder that PostgreSQL's own user can reach when the tests run as root. */
function openDir(name: string): string {
  const dir = newDir(name);
  chmodSync(dir, 0o755);
  return dir;
}

/** Gives a new hub's data folder a cluster, where one was made. */
export function withCluster(dataDir: string): void {
  const from = process.env[VARIABLE];
  if (from === undefined || existsSync(join(dataDir, "postgres"))) return;
  mkdirSync(dataDir, { recursive: true });
  copyFileSync(join(from, "postgres.password"), join(dataDir, "postgres.password"));
  // With the server's own user as the owner.
  execFileSync("cp", ["-a", join(from, "postgres"), join(dataDir, "postgres")]);
}

let databases = 0;

/**
 * A database of its own, for a test that does not end its server: in the shared server, where there is one. `isEmpty`: without the hub's tables; else they may be there
 * already, as at a hub that is started again.
 */
export async function startDatabase(dataDir: string, { isEmpty = false }: { readonly isEmpty?: boolean } = {}): Promise<Backend> {
  const shared = process.env[SHARED];
  if (shared === undefined) {
    withCluster(dataDir);
    return startPostgres({ dataDir });
  }
  const name = `test_${process.pid}_${databases++}`;
  await onServer(shared, `CREATE DATABASE ${name} TEMPLATE ${isEmpty ? "template0" : MIGRATED}`);
  return {
    name: "postgres",
    url: databaseAt(shared, name),
    how: "environment",
    pid: null,
    container: null,
    detail: "a database in the tests' PostgreSQL",
    exited: new Promise(() => {}),
    probe: () => onServer(databaseAt(shared, name), "SELECT 1"),
    close: () => onServer(shared, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`),
  };
}

/** Connecting is tried until tests have no more patience: four files and their hubs share the machine, and a connection may take longer than a hub would wait. */
async function onServer(url: string, statement: string): Promise<void> {
  const db = await eventually("a connection to the tests' PostgreSQL", () => connectViews(url, "tributary-test-databases"));
  try {
    await db.query(statement);
  } finally {
    await db.end();
  }
}
