import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { admitNew, keyLogins, loginStands, withdrawRevoked } from "../../services/cli/logins.ts";
import {
  type JsonObject,
  KEYS_STREAM,
  type KeyRecord,
  keyRecord,
  type Position,
  publicKeySchema,
} from "../../services/core/index.ts";
import { keyIdOf, makeKeyPair } from "../../services/core/node.ts";
import { alignLogins } from "../../services/local/index.ts";
import { tempDir } from "../support/temp.ts";

const NOW_MS = Date.now();
type Written = readonly (readonly [type: string, data: JsonObject])[];
/** The book of keys as somebody who knows of these facts has read it. */
function read(facts: Written): KeyRecord {
  const record = keyRecord();
  for (const [at, [type, data]] of facts.entries())
    record.apply({
      stream: KEYS_STREAM,
      revision: at,
      type,
      data,
      by: {},
      position: BigInt(at) as Position,
      recordedAtMs: NOW_MS,
    });
  return record;
}
const enrolled = (device: string, how: string): Written[number] => {
  const key = publicKeySchema.parse(makeKeyPair());
  return ["device.enrolled", { device: `relief.juba.${device}`, kid: keyIdOf(key), key: { ...key }, how }];
};

it("a command that read the book of keys a moment too early removes no login that a device has just got; one that has read all of it does", async () => {
  const dir = tempDir();
  const logins = (): number => readdirSync(join(dir, "nats-logins")).length;
  const facts: Written = [enrolled("t1", "code"), enrolled("t1", "rotation"), enrolled("t2", "code")];
  const now = read(facts);
  // The hub, which follows the book.
  await alignLogins(dir, keyLogins(now, NOW_MS), (login) => loginStands(now, login, NOW_MS));
  expect(logins()).toBe(3);
  for (const known of [0, 1, 2]) {
    await admitNew(dir, read(facts.slice(0, known)), []);
    expect(await withdrawRevoked(dir, read(facts.slice(0, known)))).toBe(0);
  }
  expect(logins()).toBe(3);
  expect(await withdrawRevoked(dir, read([...facts, ["device.revoked", { device: "relief.juba.t1" }]]))).toBe(2);
  expect(logins()).toBe(1);
});
