import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type ErrorCode, isTributaryError } from "../../services/core/index.ts";
import { parseSettings, readSettings } from "../../services/notify/index.ts";
import { messageOf } from "../../services/notify/message.ts";
import { tempDir } from "../support/temp.ts";

const SECRET = "a-secret-of-the-desk";
const webhook = { url: "https://desk.example.org/hook", secret: SECRET };
const email = { smtp: "smtp://user:pass@mail.example.org:587", from: "Hub <hub@example.org>", to: ["hq@example.org"] };
const one = (target: unknown) => ({ targets: { desk: target } });

function problem(work: () => unknown): { readonly code: ErrorCode; readonly message: string } {
  try {
    work();
  } catch (error) {
    if (isTributaryError(error)) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("notification settings", () => {
  it("name targets: webhooks and mailboxes, at once or as a digest", () => {
    const settings = parseSettings({ targets: { desk: { webhook }, hq: { email, digest: "1h", includeValues: true } } });
    expect(settings.get("desk")).toEqual({
      name: "desk",
      way: { kind: "webhook", webhook },
      digestMs: null,
      includeValues: false,
    });
    expect(settings.get("hq")).toMatchObject({ way: { kind: "email" }, digestMs: 3_600_000, includeValues: true });
  });

  it("take secrets from the environment", () => {
    const given = { webhook: { url: "env:URL", secret: "env:SECRET" } };
    expect(parseSettings(one(given), { URL: webhook.url, SECRET }).get("desk")?.way).toEqual({ kind: "webhook", webhook });
    expect(problem(() => parseSettings(one(given), { URL: webhook.url })).message).toBe(
      "notifications.json: targets.desk.webhook.secret takes the environment variable SECRET, which is not set",
    );
  });

  const faults: readonly (readonly [string, unknown, string])[] = [
    ["a missing member", {}, "targets is missing"],
    ["an unknown member", { targets: {}, target: {} }, "target is not a known member"],
    ["a misspelt member", one({ webhook: { ...webhook, sekret: "x" } }), "targets.desk.webhook.sekret is not a known member"],
    ["no way to send", one({ digest: "1h" }), "targets.desk needs one of webhook and email"],
    ["two ways to send", one({ webhook, email }), "targets.desk needs one of webhook and email"],
    ["a target's name that is not a name", { targets: { "The Desk": { webhook } } }, "targets.The Desk is not a name"],
    ["no URL", one({ webhook: { secret: SECRET } }), "targets.desk.webhook.url is missing"],
    [
      "a text that is not a URL",
      one({ webhook: { ...webhook, url: "desk" } }),
      "targets.desk.webhook.url is not an address: write https://host/path",
    ],
    ["another protocol", one({ webhook: { ...webhook, url: "ftp://x/y" } }), "targets.desk.webhook.url is not an address"],
    ["a password in a URL", one({ webhook: { ...webhook, url: "https://u:p@x/" } }), "targets.desk.webhook.url holds a user"],
    [
      "a short secret",
      one({ webhook: { ...webhook, secret: "short" } }),
      "targets.desk.webhook.secret is shorter than 16 characters",
    ],
    [
      "a text that is not an SMTP address",
      one({ email: { ...email, smtp: "mail:25" } }),
      "targets.desk.email.smtp is not an address",
    ],
    [
      "a password in the clear",
      one({ email: { ...email, plaintext: true } }),
      "targets.desk.email would send a password in the clear",
    ],
    [
      "a stray %",
      one({ email: { ...email, smtp: "smtp://u:100%@x" } }),
      "targets.desk.email.smtp holds a % that escapes nothing",
    ],
    [
      "a sender with a line end",
      one({ email: { ...email, from: "a@b\r\nBcc: c@d" } }),
      "targets.desk.email.from is not an address",
    ],
    ["two people as one", one({ email: { ...email, to: ["a@b, c@d"] } }), "targets.desk.email.to.0 is not an address"],
    ["no recipients", one({ email: { ...email, to: [] } }), "targets.desk.email.to names nobody"],
    [
      "a text that is not a period",
      one({ webhook, digest: "hourly" }),
      'targets.desk.digest is not a period: write "15m", "1h" or "24h"',
    ],
    ["too long a period", one({ webhook, digest: "8d" }), "targets.desk.digest is not a period"],
    ["targets as a list", { targets: [] }, "targets is not an object"],
    ["a text in place of true or false", one({ webhook, includeValues: "yes" }), "targets.desk.includeValues is not a boolean"],
    [
      "too many targets",
      { targets: Object.fromEntries(Array.from({ length: 17 }, (_, n) => [`t${n}`, { webhook }])) },
      "targets names more than 16",
    ],
  ];
  it.each(faults)("are refused with the name of the member that is wrong: %s", (_, value, expected) => {
    const { code, message } = problem(() => parseSettings(value));
    expect(code).toBe("input-malformed");
    expect(message).toContain(expected);
    expect(message).not.toContain(SECRET);
  });

  it("are empty without a file, and a file that is not JSON is refused", () => {
    const file = join(tempDir(), "notifications.json");
    expect(readSettings(file, {}).size).toBe(0);
    writeFileSync(file, "{");
    expect(problem(() => readSettings(file, {}))).toMatchObject({
      code: "input-malformed",
      message: expect.stringContaining(file),
    });
    writeFileSync(file, JSON.stringify(one({ webhook })));
    expect(readSettings(file, {}).size).toBe(1);
  });
});

describe("a message", () => {
  const desk = parseSettings(one({ webhook })).get("desk")!;

  it("shows a command that can be pasted, whatever the case's name holds", () => {
    const { text } = messageOf(
      { key: "k", subject: "s", body: { case: "x; rm -rf 'y'" }, createdAt: new Date(0).toISOString() },
      desk,
    );
    expect(text).toContain(`tributary case show 'x; rm -rf '\\''y'\\'''`);
  });

  it("is sent even if its body is of an unknown form", () => {
    for (const body of [null, "text", 7, [], { entity: 7, case: 12, text: ["x"] }])
      expect(messageOf({ key: "k", subject: "s", body, createdAt: new Date(0).toISOString() }, desk).text).toMatch(/^s\n/);
  });

  it("has a subject of one line and bounded length", () => {
    const { subject } = messageOf(
      { key: "k", subject: `a\r\n\u202eb${"x".repeat(500)}`, body: {}, createdAt: new Date(0).toISOString() },
      desk,
    );
    expect(subject).toMatch(/^a bx+…$/);
    expect(subject.length).toBe(200);
  });
});
