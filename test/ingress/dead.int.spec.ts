import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { headers, type NatsConnection } from "nats";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { inputOf } from "../../services/cli/args.ts";
import { deadList, deadRetry, deadShow } from "../../services/cli/commands-dead.ts";
import type { Output } from "../../services/cli/output.ts";
import { type Hash, isTributaryError, messageText, type OriginId } from "../../services/core/index.ts";
import { batchKey, makeKeyPair, signerOf } from "../../services/core/node.ts";
import { DEAD_STREAM, MAX_DEAD_AGE_DAYS, MAX_DEAD_BYTES } from "../../services/ingress/index.ts";
import { batchOf, frameOf } from "../support/batches.ts";
import { connectAs } from "../support/broker.ts";
import { type Door, openDoor } from "../support/door.ts";

let door: Door;
let nc: NatsConnection;
let dir: string;
beforeAll(async () => {
  door = await openDoor();
  nc = await connectAs(door.natsUrl);
  dir = join(door.dir, "hub");
  mkdirSync(dir);
  writeFileSync(join(dir, "signing-key.json"), JSON.stringify(door.key));
  vi.stubEnv("TRIBUTARY_NATS_URL", door.natsUrl);
  vi.stubEnv("TRIBUTARY_EVENTSTORE_URL", door.node.url);
  vi.stubEnv("TRIBUTARY_POSTGRES_URL", "postgres://127.0.0.1:1/none");
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await nc?.close();
  await door?.close();
});

/** A command as the program runs it, in this process: its words or its document, and its exit code. */
async function tributary(...args: string[]): Promise<{ readonly code: number; readonly output: string }> {
  const command = [deadList, deadShow, deadRetry].find(({ name }) => name === args.slice(0, 2).join(" "))!;
  const input = inputOf(command, [...args.slice(2), "--data", dir]);
  let output = "";
  const out: Output = {
    json: input.out.json,
    line: (text = "") => {
      if (!out.json) output += `${text}\n`;
    },
    result: (value) => {
      if (out.json) output += JSON.stringify(value);
    },
    progress: () => {},
    piece: async () => true,
    notice: () => {},
  };
  try {
    return { code: await command.run({ ...input, out }), output };
  } catch (error) {
    if (!isTributaryError(error)) throw error;
    return { code: error.exitCode, output: error.message };
  }
}
const json = async <T>(...args: string[]): Promise<T> => JSON.parse((await tributary(...args, "--json")).output) as T;
const origin = (device: string): OriginId => `relief.juba.${device}.abc` as OriginId;
const refused = async (device: string, frame: Uint8Array): Promise<unknown> => {
  const transport = await door.transport("juba", device);
  return (await transport.send(frame, origin(device))).reply;
};

describe("dead letters", () => {
  it("are none at first, and a sentence says so", async () => {
    expect(await tributary("dead", "list")).toEqual({ code: 0, output: "There are no dead letters.\n" });
    expect(await tributary("dead", "retry", "--all")).toEqual({ code: 0, output: "There are no dead letters.\n" });
    expect((await tributary("dead", "show", "7")).code).toBe(4);
    expect((await tributary("dead", "show", "x")).code).toBe(2);
    expect((await tributary("dead", "retry")).code).toBe(2);
  });

  it("are listed and shown with their sender, the reason, and what can be read of them; so is garbage that anybody put there", async () => {
    expect(await refused("t1", new Uint8Array([0x54, 0x42, 1, 9, 9]))).toMatchObject({ code: "batch-undecodable" });
    const damaged = frameOf(batchOf(origin("t2"), ['{"phone":null}', '{"phone":null}'], { head: "b".repeat(64) as Hash }));
    expect(await refused("t2", damaged)).toMatchObject({ code: "chain-broken" });
    nc.publish("dead.anybody", "\u001b[2Jgarbage");
    const h = headers();
    h.set("Tributary-Reason", "escape \u001b[31m sequence");
    nc.publish("dead.a.b.c.d", "", { headers: h });
    await nc.flush();
    const { total, letters } = await json<{ total: number; letters: Record<string, unknown>[] }>("dead", "list");
    expect(total).toBe(4);
    expect(letters).toMatchObject([
      { number: 1, place: "relief.juba.t1", code: "batch-undecodable", bytes: 5 },
      { number: 2, place: "relief.juba.t2", code: "chain-broken", bytes: damaged.length },
      { number: 3, place: "anybody", code: "unknown", reason: "no reason is given", bytes: 11 },
      { number: 4, place: "a.b.c.d", reason: "escape  [31m sequence", bytes: 0 },
    ]);
    const listed = await tributary("dead", "list", "--limit", "2");
    expect(listed.output).toContain("chain-broken");
    expect(listed.output).toContain("--after 2");
    expect(await json("dead", "show", "2")).toMatchObject({
      content: {
        kind: "batch",
        origin: origin("t2"),
        firstSeq: 0,
        lastSeq: 1,
        events: [{ seq: 0, type: "beneficiary.updated" }, { seq: 1 }],
      },
    });
    const shown = await tributary("dead", "show", "1");
    expect(shown).toMatchObject({ code: 0, output: expect.stringContaining("Nothing can be read of it") });
  });

  it("are checked again: what is refused again stays, once; what is taken goes; the exit code says which", async () => {
    const again = await tributary("dead", "retry", "2");
    expect(again).toMatchObject({ code: 6, output: expect.stringContaining("chain-broken") });
    expect((await json<{ total: number }>("dead", "list")).total).toBe(4);
    // As after a fix of the hub: a letter that can be taken now.
    const h = headers();
    h.set("Tributary-Code", "internal");
    await nc.jetstream().publish("dead.relief.juba.t3", frameOf(batchOf(origin("t3"), ['{"phone":null}'])), { headers: h });
    expect(await json("dead", "retry", "5")).toEqual([{ number: 5, outcome: "taken", reason: null }]);
    expect((await door.log.head(origin("t3")))?.through).toBe(0);
    expect((await json<{ total: number }>("dead", "list")).total).toBe(4);
    const all = await tributary("dead", "retry", "--all");
    expect(all.code).toBe(6);
    expect(all.output.match(/Letter \d+: refused/g)).toHaveLength(4);
  });

  it("are thrown away only on the hub's own signed answer, and are let in for their device, their entities and a minute at most", async () => {
    const stranger = signerOf(makeKeyPair());
    const tokens: Record<string, unknown>[] = [];
    // Somebody who reads along on the broker, and is faster than the hub.
    const ear = nc.subscribe("ingress.relief.juba.t2", {
      callback: (_, { data, headers: about, subject }) => {
        const claims = /^Proof [\w-]+\.([\w-]+)\./.exec(about?.get("Authorization") ?? "")?.[1] ?? "";
        tokens.push(JSON.parse(Buffer.from(claims, "base64url").toString()) as Record<string, unknown>);
        const receipt = {
          ...{ kind: "receipt", batch: batchKey(data), origin: origin("t2"), through: 1, head: "b".repeat(64), position: "7" },
          quarantined: [],
        };
        const signed = { ...receipt, signature: stranger.sign(messageText("receipt", receipt)) };
        for (const forged of [receipt, signed]) nc.publish(subject.replace("ingress", "receipt"), JSON.stringify(forged));
      },
    });
    const again = await tributary("dead", "retry", "2");
    ear.unsubscribe();
    expect(again).toMatchObject({ code: 6, output: expect.stringContaining("chain-broken") });
    expect((await tributary("dead", "show", "2")).code).toBe(0);
    expect(tokens).toMatchObject([
      { org: "relief", site: "juba", device: "t2", types: ["beneficiary"], scope: "events:append", exp: expect.any(Number) },
    ]);
    expect(Number(tokens[0]!.exp) - Number(tokens[0]!.iat)).toBeLessThanOrEqual(60);
  });

  it("that came on one device's subject and claim to be another's are not let in as the other's", async () => {
    const theirs = "relief.nairobi.t1.abc" as OriginId;
    const { seq } = await nc.jetstream().publish("dead.relief.juba.t1", frameOf(batchOf(theirs, ['{"phone":null}'])));
    expect(await tributary("dead", "retry", String(seq))).toMatchObject({
      code: 5,
      output: expect.stringContaining("token-site"),
    });
    expect(await door.log.head(theirs)).toBeNull();
  });

  it("are kept within bounds of bytes and days; the oldest go first (I19)", async () => {
    const { config } = await (await nc.jetstreamManager()).streams.info(DEAD_STREAM);
    expect(config).toMatchObject({ max_bytes: MAX_DEAD_BYTES, max_age: MAX_DEAD_AGE_DAYS * 86_400 * 1e9, discard: "old" });
  });
});
