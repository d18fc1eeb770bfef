import { describe, expect, it } from "vitest";
import {
  type Fact,
  type JsonObject,
  KEY_OVERLAP_MS,
  KEYS_STREAM,
  type KeyRecord,
  keyRecord,
  keysAt,
  type Position,
  publicKeySchema,
} from "../../services/core/index.ts";
import { codeHash, keyIdOf, makeCode, makeKeyPair, namesHub, readCode } from "../../services/core/node.ts";

const DEVICE = "relief.juba.t1";
const newKey = () => publicKeySchema.parse(makeKeyPair());

/** A record, and a pen that writes the next fact, a second after the last. */
function book(): { record: KeyRecord; write: (type: string, data: JsonObject) => Fact } {
  const record = keyRecord();
  let revision = 0;
  return {
    record,
    write(type, data) {
      const at = revision++;
      const fact = {
        stream: KEYS_STREAM,
        revision: at,
        type,
        data,
        by: {},
        position: BigInt(at) as Position,
        recordedAtMs: at * 1_000,
      };
      record.apply(fact);
      return fact;
    },
  };
}
const enrolment = (key = newKey(), more: JsonObject = {}): JsonObject => ({
  device: DEVICE,
  kid: keyIdOf(key),
  key: { ...key },
  how: "token",
  ...more,
});

describe("a device's key", () => {
  it("counts from its enrolment on; after a rotation the old key counts for one more day, and not longer", () => {
    const { record, write } = book();
    expect(record.present(DEVICE)).toBeNull();
    const [first, second] = [newKey(), newKey()];
    write("device.enrolled", enrolment(first));
    expect(record.present(DEVICE)?.kid).toBe(keyIdOf(first));
    write("device.enrolled", enrolment(second, { how: "rotation" }));
    expect(record.present(DEVICE)?.kid).toBe(keyIdOf(second));
    expect(keysAt(record, DEVICE, 1_000 + KEY_OVERLAP_MS)).toHaveLength(2);
    expect(keysAt(record, DEVICE, 1_001 + KEY_OVERLAP_MS).map(({ kid }) => kid)).toEqual([keyIdOf(second)]);
  });

  it("that was replaced by a code or revoked stops counting at once, and so do the keys that it had rotated away", () => {
    const { record, write } = book();
    write("device.enrolled", enrolment());
    write("device.enrolled", enrolment(newKey(), { how: "rotation" }));
    write("device.revoked", { device: DEVICE });
    expect(keysAt(record, DEVICE, 0)).toEqual([]);
    expect(record.revoked(DEVICE)).toBe("device");
    const fresh = newKey();
    write("device.enrolled", enrolment(fresh, { how: "code" }));
    expect(keysAt(record, DEVICE, 0).map(({ kid }) => kid)).toEqual([keyIdOf(fresh)]);
    expect(record.revoked(DEVICE)).toBeNull();
    write("device.enrolled", enrolment(newKey(), { how: "code" }));
    expect(keysAt(record, DEVICE, 0)).toHaveLength(1);
  });

  it("counts beside at most two before it, however often it is rotated in a day", () => {
    const { record, write } = book();
    const keys = Array.from({ length: 6 }, newKey);
    for (const [i, key] of keys.entries()) write("device.enrolled", enrolment(key, i === 0 ? {} : { how: "rotation" }));
    expect(keysAt(record, DEVICE, 6_000).map(({ kid }) => kid)).toEqual(keys.slice(-3).map(keyIdOf));
  });

  it("that is revoked takes along its device's unused codes; other codes stay, and a later one is good", () => {
    const { record, write } = book();
    const code = (hash: string, device?: string) =>
      write("code.issued", { hash, site: "relief.juba", expiresAtMs: 9e15, ...(device === undefined ? {} : { device }) });
    code("used", DEVICE);
    write("device.enrolled", enrolment(newKey(), { how: "code", code: "used" }));
    code("kept", DEVICE);
    code("other", "relief.juba.t2");
    code("any");
    const usedAtMs = record.code("used")!.usedAtMs;
    write("device.revoked", { device: DEVICE });
    expect(record.code("kept")).toMatchObject({ isUsed: true, usedAtMs: null });
    expect(record.code("used")).toMatchObject({ isUsed: true, usedAtMs });
    expect([record.code("other")?.isUsed, record.code("any")?.isUsed]).toEqual([false, false]);
    code("later", DEVICE);
    expect(record.code("later")?.isUsed).toBe(false);
  });

  it("goes with its site, and so do the site's codes; other sites are left alone", () => {
    const { record, write } = book();
    const other = newKey();
    write("device.enrolled", enrolment());
    write("device.enrolled", { ...enrolment(other), device: "relief.juba-2.t1" });
    write("code.issued", { hash: "a", site: "relief.juba", expiresAtMs: 9e15 });
    write("code.issued", { hash: "b", site: "relief.juba-2", expiresAtMs: 9e15 });
    write("site.revoked", { site: "relief.juba", issuedThroughS: 77 });
    expect(record.present(DEVICE)).toBeNull();
    expect(record.revoked(DEVICE)).toBe("site");
    expect(record.revocationOf("relief.juba")).toMatchObject({ issuedThroughS: 77 });
    expect(record.code("a")?.isUsed).toBe(true);
    expect(record.code("b")?.isUsed).toBe(false);
    expect(record.present("relief.juba-2.t1")?.kid).toBe(keyIdOf(other));
  });

  it("follows from the facts in their order: a fact that comes twice, out of turn or from another stream changes nothing", () => {
    const { record, write } = book();
    const fact = write("device.enrolled", enrolment());
    record.apply(fact);
    record.apply({ ...fact, revision: 5 });
    record.apply({ ...fact, stream: "keys-other", revision: 1 });
    expect(record.revision).toBe(1);
    expect(record.keysOf(DEVICE)).toHaveLength(1);
    write("device.enrolled", { device: DEVICE, kid: "x", key: "no key", how: "code" });
    expect(record.keysOf(DEVICE)).toHaveLength(1);
  });
});

describe("a code", () => {
  it("is read however it is typed, names its hub's key and no other, and is never the same twice", () => {
    const [hub, other] = [keyIdOf(newKey()), keyIdOf(newKey())];
    const code = makeCode(hub);
    expect(code).toMatch(/^([a-z2-7]{4}-){7}[a-z2-7]{4}$/);
    const read = readCode(` ${code.toUpperCase().replaceAll("-", " ")} `)!;
    expect(read).toBe(code.replaceAll("-", ""));
    expect(namesHub(read, hub)).toBe(true);
    expect(namesHub(read, other)).toBe(false);
    expect(codeHash(code)).toBe(codeHash(read));
    expect(new Set(Array.from({ length: 100 }, () => makeCode(hub).slice(0, 19))).size).toBe(100);
    expect(readCode(code.slice(1))).toBeNull();
  });
});
