import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { JsonValue } from "../../services/core/index.ts";
import { refusals } from "../../services/gate/json/dialect.ts";
import type { Document, Schema } from "../../services/gate/json/document.ts";
import { modern } from "../../services/gate/json/drafts.ts";
import { FORMATS } from "../../services/gate/json/formats.ts";
import { explicit } from "../../services/gate/json/unevaluated.ts";
import { compileDocument } from "../../services/gate/json/validator.ts";

/**
 * The JSON Schema Test Suite (https://github.com/json-schema-org/JSON-Schema-Test-Suite), which is not kept here: set JSON_SCHEMA_TEST_SUITE to a
 * clone of it. Every required case of 2020-12 is validated correctly, or its schema is refused; `format` is asserted, where the suite treats it
 * as an annotation only.
 */
const SUITE = process.env.JSON_SCHEMA_TEST_SUITE ?? "";
const isThere = existsSync(join(SUITE, "tests/draft2020-12"));

interface Group {
  readonly description: string;
  readonly schema: Schema;
  readonly tests: readonly { readonly description: string; readonly data: JsonValue; readonly valid: boolean }[];
}
const groups = (dir: string, file: string): Group[] => JSON.parse(readFileSync(join(dir, file), "utf8")) as Group[];

describe.skipIf(!isThere)(
  "the JSON Schema Test Suite, draft 2020-12 (skipped unless JSON_SCHEMA_TEST_SUITE names a clone)",
  () => {
    const tests = join(SUITE, "tests/draft2020-12");
    const remotes = new Map<string, Document>();
    if (isThere) {
      const dir = join(SUITE, "remotes");
      for (const name of readdirSync(dir, { recursive: true, encoding: "utf8" }).filter(
        (each) => each.startsWith("draft2020-12/") && each.endsWith(".json"),
      ))
        remotes.set(`http://localhost:1234/${name}`, {
          root: JSON.parse(readFileSync(join(dir, name), "utf8")) as Schema,
          references: new Map(),
        });
    }
    const compile = (schema: Schema, file: string): ((data: JsonValue) => unknown) | null => {
      const references: ReadonlyMap<string, Document> = file === "refRemote.json" ? remotes : new Map();
      const { root, refusal } = modern(schema, references.size === 0);
      const doc = explicit({ root, references });
      if (refusal !== null || refusals(doc).length > 0) return null;
      try {
        return compileDocument(doc);
      } catch {
        return null;
      }
    };

    it("has no required case that is validated wrongly", () => {
      const tally = { total: 0, right: 0, refused: 0, asserted: 0 };
      const wrong: string[] = [];
      for (const file of readdirSync(tests).filter((name) => name.endsWith(".json"))) {
        for (const { description, schema, tests: cases } of groups(tests, file)) {
          const validate = compile(schema, file);
          for (const each of cases) {
            tally.total++;
            if (validate === null) tally.refused++;
            else if (validate(each.data) === each.valid) tally.right++;
            else if (file === "format.json") tally.asserted++;
            else wrong.push(`${file}: ${description}: ${each.description}`);
          }
        }
      }
      console.info(JSON.stringify(tally));
      expect(wrong).toEqual([]);
      expect(tally.right).toBeGreaterThan(1_000);
      expect(tally.asserted).toBeLessThanOrEqual(FORMATS.length);
    });

    it.each([
      ["draft7", "http://json-schema.org/draft-07/schema#", 800],
      ["draft2019-09", "https://json-schema.org/draft/2019-09/schema", 1_000],
    ])("has no required case of %s, an older draft, that is validated wrongly", (draft, $schema, atLeast) => {
      const older = join(SUITE, "tests", draft);
      const wrong: string[] = [];
      let right = 0;
      for (const file of readdirSync(older).filter((name) => name.endsWith(".json"))) {
        for (const { description, schema, tests: cases } of groups(older, file)) {
          const validate = compile(typeof schema === "boolean" ? schema : { $schema, ...schema }, "");
          if (validate === null) continue;
          for (const each of cases) {
            if (validate(each.data) === each.valid) right++;
            else if (file !== "format.json") wrong.push(`${file}: ${description}: ${each.description}`);
          }
        }
      }
      expect(wrong).toEqual([]);
      expect(right).toBeGreaterThan(atLeast);
    });

    it("has no case of a format taken here that is validated wrongly", () => {
      const wrong: string[] = [];
      let total = 0;
      for (const format of FORMATS) {
        for (const { schema, tests: cases } of groups(join(tests, "optional/format"), `${format}.json`)) {
          const validate = compile(schema, "");
          for (const { description, data, valid } of cases) {
            total++;
            if (validate?.(data) !== valid) wrong.push(`${format}: ${description}`);
          }
        }
      }
      console.info(`${total - wrong.length} of ${total} cases of ${FORMATS.length} formats`);
      expect(wrong).toEqual([]);
    });
  },
);
