import { join } from "node:path";
import { parse, validate } from "graphql";
import { describe, expect, it } from "vitest";
import { describedBy } from "../../services/api/graphql/descriptions.ts";
import { makeSchema } from "../../services/api/graphql/schema.ts";
import { ROOT } from "../../services/cli/program.ts";
import { DOCUMENTS } from "../../services/client/documents.ts";
import { clientAnswers } from "../support/client-answers.ts";
import { gate } from "../support/hub.ts";

const schema = makeSchema([], describedBy(gate));

describe("what the client knows of a hub", () => {
  it("is what the hub's schema says", async () => {
    const { answers, documents } = clientAnswers(schema);
    await expect(answers).toMatchFileSnapshot(join(ROOT, "services/client/answers.ts"));
    await expect(documents).toMatchFileSnapshot(join(ROOT, "services/client/documents.ts"));
  });

  it("is asked for by documents that the schema takes", () => {
    for (const [name, document] of Object.entries(DOCUMENTS))
      expect([name, validate(schema, parse(document))]).toEqual([name, []]);
    expect(Object.keys(DOCUMENTS)).toHaveLength(17);
  });
});
