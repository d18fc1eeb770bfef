import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import type { Me } from "../../services/api/index.ts";
import { withCluster } from "../support/cluster.ts";
import { runHere } from "../support/here.ts";
import { eventually, tempDir } from "../support/temp.ts";

const MAIN = join(import.meta.dirname, "../../services/cli/main.ts");
const NODE = ["--disable-warning=ExperimentalWarning", MAIN];

async function startHub(dir: string): Promise<string> {
  withCluster(dir);
  const hub = spawn(process.execPath, [...NODE, "hub", "--data", dir, "--org", "relief"], { stdio: ["ignore", "pipe", "pipe"] });
  onTestFinished(async () => {
    const gone = new Promise((resolve) => hub.once("exit", resolve));
    hub.kill("SIGINT");
    await gone;
  });
  let out = "";
  for (const stream of [hub.stdout, hub.stderr])
    stream.on("data", (chunk: Buffer) => {
      out += chunk;
    });
  const ended = new Promise<never>((_, reject) => hub.once("exit", () => reject(new Error(`the hub ended: ${out}`))));
  ended.catch(() => {});
  await Promise.race([eventually("the hub", async () => out.includes("is running")), ended]);
  return (JSON.parse(readFileSync(join(dir, "hub.json"), "utf8")) as { httpUrl: string }).httpUrl;
}

it("operators give people tokens, change what roles may, and shut somebody out; every step by commands", async () => {
  const dir = tempDir();
  // PostgreSQL's user must walk through it.
  chmodSync(dir, 0o755);
  const data = join(dir, "hub");
  mkdirSync(data);
  const people = join(data, "people.json");
  const run = (...args: string[]) => runHere(...args, "--data", data);
  const result = async (...args: string[]): Promise<Record<string, unknown>> => {
    const ended = await run(...args, "--json");
    expect(ended.code, ended.stderr).toBe(0);
    return JSON.parse(ended.stdout) as Record<string, unknown>;
  };

  // A slip in the file is told before anything is started.
  writeFileSync(people, JSON.stringify({ roles: { nurse: ["views:read"] } }));
  const slip = await run("hub", "--org", "relief");
  expect(slip).toMatchObject({
    code: 3,
    stderr: expect.stringMatching(/people\.json: .*"nurse" is not a role: roles are field, /),
  });
  expect(existsSync(join(data, "hub.json"))).toBe(false);
  expect((await run("role", "list")).code).toBe(3);
  writeFileSync(people, JSON.stringify({ roles: { resolver: ["views:read", "cases:read"] } }));

  const listed = (await run("role", "list")).stdout;
  expect(listed).toMatch(/cases:decide +Decide a case, or accept it as it is\. +coordinator, admin\n/);
  expect(listed).toMatch(/schemas:write \* +Register schemas/);
  expect(await result("role", "list")).toMatchObject({
    file: people,
    roles: { resolver: ["views:read", "cases:read"] },
    providers: [],
  });

  const url = await startHub(data);
  const me = async (token: string) => {
    const response = await fetch(`${url}/v1/me`, { headers: { authorization: `Bearer ${token}` } });
    return { status: response.status, ...((await response.json()) as Me & { code?: string }) };
  };
  const wrong = await run("token", "issue", "--person", "amina", "--role", "resolver,doctor");
  expect(wrong).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("doctor: there is no such role\nRoles are field, coordinator, "),
  });
  expect((await run("token", "issue", "--person", "amina")).code).toBe(2);
  const issued = await result("token", "issue", "--person", "amina", "--role", "resolver", "--role", "field", "--days", "7");
  expect(issued).toMatchObject({ person: "amina", org: "relief", roles: ["resolver", "field"], days: 7, url });
  const amina = String(issued.token);
  const asked = await me(amina);
  expect(asked).toMatchObject({ status: 200, subject: "amina", org: "relief", roles: ["resolver", "field"], sees: ["relief"] });
  expect(asked.rights.map(({ right }) => right)).toEqual(["views:read", "cases:read", "schemas:read", "events:append"]);

  // The file counts within seconds, without a restart; what cannot be read changes nothing.
  writeFileSync(people, JSON.stringify({ roles: { resolver: [] } }));
  await eventually("the new matrix", async () => (await me(amina)).rights.length === 3);
  writeFileSync(people, "{");
  const ingressLog = join(data, "logs", "ingress.log");
  await eventually("word of the damaged file", async () => {
    expect((await me(amina)).rights).toHaveLength(3);
    return readFileSync(ingressLog, "utf8").includes("people-unreadable");
  });
  writeFileSync(people, "{}");

  // The registry asks the same rights: whoever owns schemas may write them, others of the hub may read them, and a partner's people may not write.
  const level = (token: string, method = "GET") =>
    fetch(`${url}/config`, {
      ...{ method, headers: { authorization: `Bearer ${token}` } },
      ...(method === "GET" ? {} : { body: '{"compatibility":"FULL"}' }),
    }).then(({ status }) => status);
  const owner = String((await result("token", "issue", "--person", "grace", "--role", "schema-owner")).token);
  const partner = String((await result("token", "issue", "--person", "lam", "--role", "admin", "--org", "msf")).token);
  expect([await level(owner, "PUT"), await level(owner), await level(amina), await level(partner)]).toEqual([200, 200, 200, 200]);
  expect([await level(amina, "PUT"), await level(partner, "PUT")]).toEqual([403, 403]);
  expect((await me(partner)).sees).toEqual(["msf"]);

  // Shut out, within seconds; and let in again.
  const revoked = await run("token", "revoke", "--person", "amina", "--reason", "left the team");
  expect(revoked).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^Tokens of amina that were issued up to \S+ are refused\.\n$/),
  });
  await eventually("the revocation", async () => (await me(amina)).code === "revoked");
  expect((await me(owner)).status).toBe(200);
  const again = String((await result("token", "issue", "--person", "amina", "--role", "field")).token);
  expect((await me(again)).status).toBe(200);
  expect((await run("token", "revoke", again)).code).toBe(0);
  await eventually("the token's revocation", async () => (await me(again)).code === "revoked");
  expect((await run("token", "revoke", again, "--person", "amina")).code).toBe(2);
  expect((await run("token", "revoke", "--reason", "none")).code).toBe(2);

  // What the team says of people is kept with the hub, and what the log says of it is the hub's own word.
  writeFileSync(people, JSON.stringify({ roles: { field: [] } }));
  const backup = join(dir, "backup");
  await result("backup", backup);
  expect(readFileSync(join(backup, "people.json"), "utf8")).toBe(readFileSync(people, "utf8"));
  const restored = join(dir, "restored");
  expect((await runHere("restore", backup, "--data", restored)).code).toBe(0);
  expect(readFileSync(join(restored, "people.json"), "utf8")).toBe(readFileSync(people, "utf8"));
  expect((await run("audit", "verify", "--log-only")).code).toBe(0);
});
