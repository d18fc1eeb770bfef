import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { client } from "../../services/client/index.ts";
import { asked, type Told } from "../support/api-hub.ts";
import { withCluster } from "../support/cluster.ts";
import { runHere } from "../support/here.ts";
import { number, registration } from "../support/hub.ts";
import { eventually, tempDir } from "../support/temp.ts";

const MAIN = join(import.meta.dirname, "../../services/cli/main.ts");
const NODE = ["--disable-warning=ExperimentalWarning", MAIN];

it("at a hub that was started by command, a program appends, reads and registers a site with nothing but a token", async () => {
  const dir = tempDir();
  // PostgreSQL's user must walk through it.
  chmodSync(dir, 0o755);
  const data = join(dir, "hub");
  mkdirSync(data);
  withCluster(data);
  const env = { ...process.env, TRIBUTARY_MAX_PAGE_ROWS: "20" };
  const hub = spawn(process.execPath, [...NODE, "hub", "--data", data, "--org", "relief"], {
    stdio: ["ignore", "pipe", "pipe"],
    env,
  });
  onTestFinished(async () => {
    const gone = new Promise((resolve) => hub.once("exit", resolve));
    hub.kill("SIGINT");
    await gone;
  });
  let out = "";
  for (const stream of [hub.stdout, hub.stderr]) stream.on("data", (chunk: Buffer) => (out += chunk));
  const ended = new Promise<never>((_, reject) => hub.once("exit", () => reject(new Error(`the hub ended: ${out}`))));
  ended.catch(() => {});
  await Promise.race([eventually("the hub", async () => out.includes("is running")), ended]);
  const { httpUrl } = JSON.parse(readFileSync(join(data, "hub.json"), "utf8")) as { httpUrl: string };
  const issued = await runHere("token", "issue", "--person", "amina", "--role", "coordinator", "--data", data, "--json");
  const { token } = JSON.parse(issued.stdout) as { token: string };
  const ask = (query: string, variables: Record<string, unknown> = {}): Promise<Told> =>
    asked(`${httpUrl}/graphql`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify({ query, variables }),
    });

  const { type, entity, data: form } = registration(number(1));
  const append = "mutation ($events: [EventInput!]!) { append(events: $events) { events { origin quarantined } } }";
  const written = await ask(append, { events: [{ type, entity, data: form }] });
  expect(written.errors).toEqual([]);
  expect(written.data?.append).toEqual({
    events: [{ origin: expect.stringMatching(/^relief\.programs\.api\./), quarantined: null }],
  });
  const site = await ask(`mutation { registerSite(site: "juba") { org site token } }`);
  expect(site.data?.registerSite).toEqual({ org: "relief", site: "juba", token: expect.stringMatching(/\./) });
  await eventually("the row and the site", async () => {
    const told = await ask("{ views { beneficiaries { rows { id } } } sites { site } }");
    return told.text.includes(number(1)) && told.text.includes("juba");
  });
  // The hub's own setting holds at its door.
  expect((await ask("{ views { beneficiaries(first: 21) { rows { id } } } }")).errors[0]?.message).toContain(
    "20 is the most (the setting maxPageRows)",
  );

  // Its logs tell nobody's secrets, also where something was wrong with what came.
  const told = client(httpUrl, { token }).syncsCompleted()[Symbol.asyncIterator]();
  expect((await told.next()).value).toMatchObject({ kind: "standing" });
  await told.return?.();
  const forged = `${token.slice(0, -8)}AAAAAAAA`;
  for (const authorization of [`Bearer ${forged}`, `Basic ${Buffer.from(`amina:${token}x`).toString("base64")}`])
    expect((await fetch(`${httpUrl}/v1/views/beneficiaries?token=${token}`, { headers: { authorization } })).status).toBe(401);
  await ask(`{ me { org } } # ${token}`);
  await ask("query ($token: String!) { rows { beneficiaries(id: $token) { id } } }", { token });
  const { postgresUrl } = JSON.parse(readFileSync(join(data, "hub.json"), "utf8")) as { postgresUrl: string };
  const siteToken = (site.data as { registerSite: { token: string } }).registerSite.token;
  const secrets = [
    ...[token, forged, siteToken].map((each) => each.split(".")[2] ?? ""),
    new URL(postgresUrl).password,
    ...readdirSync(data)
      .filter((name) => /key/.test(name) && name.endsWith(".json"))
      .flatMap((name) => [...readFileSync(join(data, name), "utf8").matchAll(/"d":\s*"([^"]+)"/g)].map(([, d = ""]) => d)),
  ].filter((secret) => secret.length >= 8);
  expect(secrets.length).toBeGreaterThanOrEqual(4);
  const logs = [out, ...readdirSync(join(data, "logs")).map((name) => readFileSync(join(data, "logs", name), "utf8"))];
  expect(logs.join("").length).toBeGreaterThan(500);
  for (const secret of secrets) expect(logs.filter((log) => log.includes(secret))).toEqual([]);
});
