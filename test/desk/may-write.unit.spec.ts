import { join } from "node:path";
import { expect, it } from "vitest";
import type { HubOrg } from "../../services/core/index.ts";
import { consoleWriter } from "../../services/desk/index.ts";
import { type NewEvent, openField } from "../../services/field/index.ts";
import { createGate } from "../../services/gate/index.ts";
import { loadSchemas } from "../../services/gate/node.ts";
import { tempDir } from "../support/temp.ts";

const gate = createGate(loadSchemas("schemas"));
const comment: NewEvent = {
  type: "case.commented",
  entity: { type: "case", id: "c1" },
  data: { text: "seen" },
  actor: "maria",
};

/** The console of the hub of `relief`, over a log that says that it belongs to `owner`. It stops where it would ask for a token: by then the event is written. */
function consoleOver(dir: string, owner: HubOrg) {
  return consoleWriter({
    ...{ dir, org: "relief", gate, url: "nats://nowhere", nats: {} },
    hub: async () => owner,
    mustAnswer: async () => {},
    token: () => Promise.reject(new Error("it was written")),
  });
}
const written = (dir: string): number => {
  using field = openField({ path: join(dir, "console.db"), schemas: gate });
  return field.status().events;
};

it("a desk whose origin does not speak for the log's hub is refused and told whose hub it is, and nothing is written", async () => {
  const dir = tempDir();
  await expect(consoleOver(dir, "unhcr")([comment])).rejects.toMatchObject({
    code: "not-permitted",
    message: "relief.hub may not write case.commented on case/c1: only the hub's operators may note what is done about a case",
    hint: expect.stringContaining("belongs to unhcr"),
  });
  expect(written(dir)).toBe(0);
});

it("a desk of the log's own hub writes, and so does one over a log that does not say whose hub it belongs to", async () => {
  for (const owner of ["relief", null]) {
    const dir = tempDir();
    await expect(consoleOver(dir, owner)([comment])).rejects.toThrow("it was written");
    expect(written(dir)).toBe(1);
  }
});
