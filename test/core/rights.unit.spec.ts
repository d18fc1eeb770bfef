import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  DEFAULT_MATRIX,
  isTributaryError,
  matrixOf,
  RIGHTS,
  type Right,
  ROLES,
  rightsAt,
  rightsOf,
  rightWords,
  rolesWith,
} from "../../services/core/index.ts";
import { SCOPE_APPEND, SCOPE_ENROL, SCOPE_SCHEMAS, SCOPE_SCHEMAS_READ } from "../../services/http/index.ts";

const refusalOf = (given: unknown): string => {
  try {
    matrixOf(given);
  } catch (error) {
    if (isTributaryError(error)) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "taken";
};

describe("rights", () => {
  it("each say in one plain sentence what they allow", () => {
    for (const right of RIGHTS) {
      expect(right).toMatch(/^[a-z]+:[a-z]+$/);
      expect(rightWords(right)).toMatch(/^[A-Z][^.]+\.$/);
    }
    expect(new Set(RIGHTS.map(rightWords)).size).toBe(RIGHTS.length);
  });

  it("have the words of site tokens' scopes where both mean the same, and no person enrols keys in the hub's name", () => {
    const rights: readonly string[] = RIGHTS;
    for (const scope of [SCOPE_APPEND, SCOPE_SCHEMAS, SCOPE_SCHEMAS_READ]) expect(rights).toContain(scope);
    expect(rights).not.toContain(SCOPE_ENROL);
  });
});

describe("the matrix of roles", () => {
  it("gives an admin every right, and each right to somebody", () => {
    expect(rightsOf(["admin"], DEFAULT_MATRIX)).toEqual(RIGHTS);
    for (const right of RIGHTS) expect(rolesWith(right, DEFAULT_MATRIX)).toContain("admin");
  });

  it("stands in docs/rights.md as it is", () => {
    const text = readFileSync(join(import.meta.dirname, "../../docs/rights.md"), "utf8");
    const [, table = ""] = /<!-- matrix.*?-->\n(.*?)<!-- \/matrix -->/s.exec(text) ?? [];
    const [head = "", , ...rows] = table.trim().split("\n");
    const cells = (line: string): string[] =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim());
    expect(cells(head)).toEqual(["right", ...ROLES]);
    expect(rows.map(cells)).toEqual(
      RIGHTS.map((right) => [`\`${right}\``, ...ROLES.map((role) => (DEFAULT_MATRIX[role].includes(right) ? "yes" : ""))]),
    );
  });

  it("lets an auditor read everything and change nothing", () => {
    const rights = rightsOf(["auditor"], DEFAULT_MATRIX);
    expect(rights.filter((right) => !right.endsWith(":read"))).toEqual(["queries:free"]);
    expect(RIGHTS.filter((right) => right.endsWith(":read") && !rights.includes(right))).toEqual([]);
  });

  it("keeps what changes the whole hub from those who work with its data", () => {
    const of = (right: Right) => rolesWith(right, DEFAULT_MATRIX).join(" ");
    expect(of("schemas:write")).toBe("schema-owner admin");
    expect(of("policies:write")).toBe("admin");
    expect(of("people:revoke")).toBe("admin");
    expect(of("cases:decide")).toBe("coordinator resolver admin");
    expect(of("events:append")).toBe("field coordinator admin");
    expect(of("queries:free")).toBe("auditor schema-owner admin");
  });

  it("adds up the rights of several roles, in one order and each once", () => {
    const both = rightsOf(["schema-owner", "field"], DEFAULT_MATRIX);
    expect(both).toEqual(rightsOf(["field", "schema-owner", "field"], DEFAULT_MATRIX));
    expect(both).toContain("events:append");
    expect(both).toContain("schemas:write");
    expect(new Set(both).size).toBe(both.length);
  });

  it("gives nothing for what is not a role, whatever it is called", () => {
    for (const name of ["", "Admin", "admin ", "root", "constructor", "__proto__", "toString", "*"])
      expect(rightsOf([name], DEFAULT_MATRIX)).toEqual([]);
    expect(rightsOf([], DEFAULT_MATRIX)).toEqual([]);
  });
});

describe("what concerns the whole hub", () => {
  it("is for people of the hub's own organisation only, whatever the role and the matrix", () => {
    const lacks = (org: string, hub: string | null) => {
      const rights = rightsAt({ org, roles: ["admin"], hub }, DEFAULT_MATRIX);
      return RIGHTS.filter((right) => !rights.includes(right));
    };
    expect(lacks("relief", "relief")).toEqual([]);
    expect(lacks("msf", "relief")).toEqual(["schemas:write", "policies:write"]);
    // It is not known whose hub it is.
    expect(lacks("relief", null)).toEqual(["schemas:write", "policies:write"]);
  });
});

describe("a team's matrix", () => {
  it("takes the place of the default for the roles that it names, and leaves the others", () => {
    const matrix = matrixOf({ resolver: ["cases:read"], field: [] });
    expect(rightsOf(["resolver"], matrix)).toEqual(["cases:read"]);
    expect(rightsOf(["field"], matrix)).toEqual([]);
    expect(matrix.coordinator).toEqual(DEFAULT_MATRIX.coordinator);
    expect(rolesWith("cases:decide", matrix)).toEqual(["coordinator", "admin"]);
    expect(matrixOf()).toEqual(DEFAULT_MATRIX);
    expect(matrixOf(JSON.parse('{"__proto__": ["views:read"]}'))).toEqual(DEFAULT_MATRIX);
  });

  it("is refused with the names that there are not, and those that there are", () => {
    const unknownRole = refusalOf({ nurse: ["views:read"] });
    expect(unknownRole).toMatch(/^input-malformed: .*"nurse" is not a role: roles are field, coordinator, .*admin$/);
    const unknownRight = refusalOf({ resolver: ["views:read", "views:write"] });
    expect(unknownRight).toMatch(/resolver: "views:write" is not a right: rights are views:read, /);
    const both = refusalOf({ nurse: [], field: ["all"] });
    expect(both).toContain('"nurse"');
    expect(both).toContain('"all"');
  });

  it("is refused in words where it has another form", () => {
    for (const given of [null, [], "admin", 7, { field: "views:read" }, { field: [7] }, { field: null }])
      expect(refusalOf(given)).toMatch(/^input-malformed: the matrix of roles cannot be read: \S/);
  });
});
