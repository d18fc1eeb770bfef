import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { DEFAULT_MATRIX, isTributaryError } from "../../services/core/index.ts";
import { followPeople, NO_PEOPLE, type People, parsePeople, readPeople } from "../../services/http/index.ts";
import { tempDir } from "../support/temp.ts";

const provider = {
  issuer: "https://id.example.org",
  audience: "tributary",
  jwksUri: "https://id.example.org/jwks",
  orgs: ["relief"],
};
const withProvider = (more: object) => ({ providers: [{ ...provider, ...more }] });

describe("people.json", () => {
  it("says which roles have which rights, and whose word about people is believed", () => {
    const said = parsePeople(JSON.stringify({ roles: { field: ["views:read"] }, providers: [provider] }), "people.json");
    expect(said.matrix.field).toEqual(["views:read"]);
    expect(said.matrix.admin).toEqual(DEFAULT_MATRIX.admin);
    expect(said.providers).toEqual([
      {
        ...provider,
        ...{ rolesClaim: "roles", subjectClaim: "sub", algorithms: ["EdDSA", "ES256", "RS256"], types: ["JWT", "at+jwt"] },
      },
    ]);
    expect(parsePeople("{}", "people.json")).toEqual(NO_PEOPLE);
  });

  const WRONG: readonly (readonly [what: unknown, says: string])[] = [
    [[], "people.json: "],
    [{ rolls: {} }, "rolls"],
    [{ roles: { nurse: ["views:read"] } }, '"nurse" is not a role: roles are field, '],
    [{ roles: { field: ["views:write"] } }, 'field: "views:write" is not a right: rights are views:read, '],
    [withProvider({ issuer: "tributary" }), "providers.0.issuer: is the hub itself"],
    [withProvider({ audience: "" }), "providers.0.audience: "],
    [withProvider({ jwksUri: "http://id.example.org/jwks" }), "providers.0.jwksUri: is not an address that begins with https://"],
    [
      withProvider({ jwksUri: "http://127.0.0.1.example.org/jwks" }),
      "providers.0.jwksUri: is not an address that begins with https://",
    ],
    [withProvider({ jwksUri: "file:///etc/passwd" }), "providers.0.jwksUri: is not an address that begins with https://"],
    [withProvider({ jwksUri: "https://me:secret@id.example.org/jwks" }), "providers.0.jwksUri: holds a user or password"],
    [withProvider({ jwksUri: "jwks" }), "providers.0.jwksUri: is not an address"],
    [withProvider({ jwksUri: undefined }), "providers.0: names its keys by either jwksUri or jwks"],
    [withProvider({ jwks: { keys: [] } }), "providers.0: names its keys by either jwksUri or jwks"],
    [withProvider({ orgs: [] }), "providers.0.orgs: "],
    [withProvider({ orgs: ["*"] }), "providers.0.orgs.0: is not an organisation's name"],
    [withProvider({ orgs: ["relief", "msf"] }), "providers.0: has no orgClaim, so orgs can name one organisation only"],
    [withProvider({ algorithms: ["HS256"] }), "providers.0.algorithms.0: "],
    [withProvider({ algorithms: ["none"] }), "providers.0.algorithms.0: "],
    [withProvider({ algorithms: [] }), "providers.0.algorithms: "],
    [withProvider({ roles: { desk: ["root"] } }), 'providers.0.roles.desk.0: "root" is not a role'],
    [withProvider({ secret: "x" }), "secret"],
    [{ providers: [provider, provider] }, "providers: name an issuer twice"],
  ];
  it.each(WRONG)("that is wrong is refused, with where and what: %j", (what, says) => {
    expect(() => parsePeople(JSON.stringify(what), "people.json")).toThrow(
      expect.objectContaining({ code: "input-malformed", message: expect.stringContaining(says) }),
    );
  });

  it("that is not JSON, or not a file, is refused in words; where there is none, the team has said nothing", () => {
    const dir = tempDir();
    const file = join(dir, "people.json");
    expect(readPeople(file)).toEqual(NO_PEOPLE);
    writeFileSync(file, "{");
    expect(() => readPeople(file)).toThrow(
      expect.objectContaining({ code: "input-malformed", message: expect.stringMatching(/people\.json: it is not JSON: /) }),
    );
    expect(() => readPeople(dir)).toThrow(
      expect.objectContaining({ code: "input-malformed", message: expect.stringMatching(/cannot be read/) }),
    );
    writeFileSync(file, " ".repeat(1_100_000));
    expect(() => readPeople(file)).toThrow(/more than 1048576 bytes/);
  });
});

describe("people.json, while the hub runs,", () => {
  /** A file that is looked at with a clock that the test moves. */
  const followed = (): { file: string; people: People; said: Record<string, unknown>[]; pass(): void } => {
    const file = join(tempDir(), "people.json");
    const said: Record<string, unknown>[] = [];
    let nowMs = 0;
    const people = followPeople(file, { say: (event) => said.push(event), now: () => nowMs });
    return { file, people, said, pass: () => (nowMs += 1_000) };
  };
  const fieldMay = (...rights: string[]) => JSON.stringify({ roles: { field: rights } });

  it("is read again when it changes, within a second", () => {
    const { file, people, said, pass } = followed();
    expect(people.settings()).toEqual(NO_PEOPLE);
    writeFileSync(file, fieldMay("views:read"));
    pass();
    const first = people.settings();
    expect(first.matrix.field).toEqual(["views:read"]);
    pass();
    expect(people.settings()).toBe(first);
    writeFileSync(file, fieldMay());
    // Not looked at yet.
    expect(people.settings()).toBe(first);
    pass();
    expect(people.settings().matrix.field).toEqual([]);
    expect(said.map(({ event }) => event)).toEqual(["people-read", "people-read"]);
  });

  it("and damaged or gone, leaves what it said last, and is told once", () => {
    const { file, people, said, pass } = followed();
    writeFileSync(file, fieldMay());
    expect(people.settings().matrix.field).toEqual([]);
    writeFileSync(file, '{"roles": {"feild": []}}');
    for (let n = 0; n < 3; n++) {
      pass();
      expect(people.settings().matrix.field).toEqual([]);
    }
    rmSync(file);
    for (let n = 0; n < 3; n++) {
      pass();
      // The default matrix would give back what the team has taken away.
      expect(people.settings().matrix.field).toEqual([]);
    }
    writeFileSync(file, "{}");
    pass();
    expect(people.settings().matrix).toEqual(DEFAULT_MATRIX);
    expect(said).toMatchObject([
      { event: "people-read" },
      { event: "people-unreadable", message: expect.stringContaining('"feild" is not a role') },
      { event: "people-unreadable", message: expect.stringContaining("is gone") },
      { event: "people-read" },
    ]);
  });

  it("and damaged from the start, lets no person in until it is mended", () => {
    const { file, people, said, pass } = followed();
    writeFileSync(file, "{");
    const refusal = (() => {
      try {
        return people.settings();
      } catch (error) {
        return error;
      }
    })();
    expect(isTributaryError(refusal) && refusal.code).toBe("backend-failed");
    expect(String(refusal)).not.toContain(file);
    writeFileSync(file, "{}");
    pass();
    expect(people.settings()).toEqual(NO_PEOPLE);
    expect(said.map(({ event }) => event)).toEqual(["people-unreadable", "people-read"]);
  });
});
