import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { containerEngine } from "../../services/local/engine.ts";
import { startPostgres } from "../../services/local/postgres.ts";
import { newDir } from "./home.ts";

/*
 * A fresh PostgreSQL cluster takes `initdb` 1.3 s of processor time, and half of the test files want one. It is made once a run, and copied. Tests of how a
 * cluster is made use folders of their own.
 */
const VARIABLE = "TRIBUTARY_TEST_CLUSTER";

/** Vitest's global set-up: makes the cluster, and removes it after the last test. */
export default async function setup(): Promise<(() => void) | undefined> {
  if ((process.env.TRIBUTARY_POSTGRES_URL ?? "") !== "" || (await containerEngine()) !== null) return undefined;
  const dir = newDir("cluster");
  chmodSync(dir, 0o755);
  const server = await startPostgres({ dataDir: dir });
  await server.close();
  process.env[VARIABLE] = dir;
  return () => rmSync(dir, { recursive: true, force: true });
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
