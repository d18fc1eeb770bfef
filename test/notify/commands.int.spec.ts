import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { type Command, inputOf } from "../../services/cli/args.ts";
import { notifyList, notifyRetry, notifyTest } from "../../services/cli/commands-notify.ts";
import { notifier } from "../../services/cli/worker-notify.ts";
import { deliverOnce } from "../../services/notify/index.ts";
import { eventually } from "../support/temp.ts";
import { type Outbox, openOutbox, openReceiver, SECRET, webhooks } from "./support.ts";

let outbox: Outbox;
beforeAll(async () => {
  outbox = await openOutbox();
  const state = { natsUrl: "nats://127.0.0.1:9", eventstoreUrl: "esdb://127.0.0.1:9", postgresUrl: outbox.url };
  writeFileSync(join(outbox.dir, "hub.json"), JSON.stringify(state));
});
afterAll(async () => {
  await outbox?.close();
});
beforeEach(() => outbox.clear());

/** Runs a command as a user would, and returns its words, or its document with `--json`. */
async function run(command: Command, ...args: string[]): Promise<string> {
  let text = "";
  const write = vi.spyOn(process.stdout, "write").mockImplementation((chunk) => {
    text += String(chunk);
    return true;
  });
  try {
    expect(await command.run(inputOf(command, [...args, "--data", outbox.dir]))).toBe(0);
  } finally {
    write.mockRestore();
  }
  return text;
}

const write = (targets: Readonly<Record<string, string>>): void => {
  const webhook = (url: string) => ({ webhook: { url, secret: SECRET } });
  writeFileSync(
    join(outbox.dir, "notifications.json"),
    JSON.stringify({ targets: Object.fromEntries(Object.entries(targets).map(([name, url]) => [name, webhook(url)])) }),
  );
};

it("`notify list` shows what failed, after how many tries and why, and `notify retry` puts it back", async () => {
  const desk = await openReceiver((_, response) => response.writeHead(400).end("no"));
  await outbox.put("a", { subject: "Two phones" });
  await outbox.put("b");
  await outbox.put("c", { target: "hq" });
  expect(await run(notifyList)).toMatch(/Two phones\s+waiting\s+0/);
  await deliverOnce({ connect: outbox.connect, settings: webhooks({ desk: desk.url }) });
  expect(await run(notifyList, "--state", "failed")).toMatch(/desk\s+Two phones\s+failed\s+1\s.*400 Bad Request: no/);
  const listed = JSON.parse(await run(notifyList, "--state", "failed", "--json"));
  expect(listed.map(({ target, tries }: { target: string; tries: number }) => [target, tries])).toEqual([
    ["hq", 0],
    ["desk", 1],
    ["desk", 1],
  ]);
  expect(await run(notifyRetry, "--id", listed[2].id)).toBe("Put 1 back to waiting.\n");
  expect(JSON.parse(await run(notifyRetry, "--target", "desk", "--json"))).toEqual({ retried: 1 });
  expect(await run(notifyRetry)).toBe("Put 1 back to waiting.\n");
  expect(await run(notifyList, "--state", "failed")).toBe("No notification is failed.\n");
  expect((await outbox.rows()).map(({ state, tries }) => [state, tries])).toEqual(Array(3).fill(["waiting", 0]));
});

it("`notify retry` and `notify list` refuse names that are not there, and say which", async () => {
  await expect(run(notifyRetry, "--id", "99")).rejects.toMatchObject({ code: "not-found" });
  await expect(run(notifyRetry, "--id", "99", "--target", "desk")).rejects.toMatchObject({ code: "usage" });
  await expect(run(notifyList, "--state", "toString")).rejects.toMatchObject({ code: "usage" });
});

it("`notify test` sends a message now and says what came back", async () => {
  const desk = await openReceiver((_, response) => response.end("thanks"));
  const refusing = await openReceiver((_, response) => response.writeHead(401).end("who are you?"));
  write({ desk: desk.url, refusing: refusing.url });
  expect(await run(notifyTest, "desk")).toBe("desk took the test message: 200 OK: thanks\n");
  expect(JSON.parse(desk.posts[0]!.body)).toMatchObject({ body: { kind: "test" } });
  await expect(run(notifyTest, "refusing")).rejects.toMatchObject({
    code: "backend-failed",
    message: "refusing did not take the test message: 401 Unauthorized: who are you?",
  });
  await expect(run(notifyTest, "hq")).rejects.toMatchObject({ code: "not-found", hint: "There are: desk, refusing." });
});

it("`notifier` delivers as the hub's settings say until it is told to end", async () => {
  const desk = await openReceiver();
  write({ desk: desk.url });
  await outbox.put("a");
  const running = run(notifier, "--log", join(outbox.dir, "notifier.log"));
  await eventually("the delivery", async () => (await outbox.rows())[0]!.state === "sent");
  process.emit("SIGTERM");
  expect(await running).toBe("The notifier serves 1 target.\n");
});
