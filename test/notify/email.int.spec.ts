import { createServer } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { parseSettings, senderOf, testMessage } from "../../services/notify/index.ts";
import { digestOf, messageOf } from "../../services/notify/message.ts";
import { caseOf, openMailServer } from "./support.ts";

const NOW = new Date("2026-05-03T10:00:00Z");
const target = (smtp: string, more: object = {}) =>
  parseSettings({
    targets: { hq: { email: { smtp, from: "Tributary <hub@example.org>", to: ["a@example.org", "b@example.org"], ...more } } },
  }).get("hq")!;
/** An address of this machine that the notifier does not know as such: it stands for a server elsewhere. */
const ELSEWHERE = "127.0.0.2";
const notice = (more: object = {}) => ({
  key: "k",
  subject: "Two phones",
  body: caseOf("c/1"),
  createdAt: NOW.toISOString(),
  ...more,
});
const refusal = (code: number, text: string): Error => Object.assign(new Error(text), { responseCode: code });

/** Header lines of a mail, with folded ones unfolded. */
const headersOf = (raw: string): readonly string[] =>
  raw
    .slice(0, raw.indexOf("\r\n\r\n"))
    .replace(/\r\n[ \t]+/g, " ")
    .split("\r\n");

describe("a notification by mail", () => {
  it("reaches all its people as plain text with a subject, and without field values", async () => {
    const mail = await openMailServer();
    const hq = target(mail.url);
    expect(await senderOf(hq, {})(messageOf(notice(), hq))).toMatchObject({ kind: "sent", note: expect.stringMatching(/^250/) });
    const [{ raw, to }] = mail.mails as [(typeof mail.mails)[0]];
    expect(to).toEqual(["a@example.org", "b@example.org"]);
    expect(headersOf(raw)).toContain("Subject: Two phones");
    expect(headersOf(raw)).toContain("From: Tributary <hub@example.org>");
    expect(headersOf(raw).find((line) => line.startsWith("Content-Type"))).toMatch(/text\/plain/);
    expect(raw).toContain("tributary case show c/1");
    expect(raw).not.toContain("+2119");
  });

  it("has the same Message-ID when it is sent again, and another for another case", async () => {
    const mail = await openMailServer();
    const hq = target(mail.url);
    const send = senderOf(hq, {});
    for (const key of ["k", "k", "other"]) await send(messageOf(notice({ key }), hq));
    const ids = mail.mails.map(({ raw }) => headersOf(raw).find((line) => line.startsWith("Message-ID")));
    expect(ids[0]).toMatch(/^Message-ID: <[0-9a-f]{32}@example\.org>$/);
    expect(ids[1]).toBe(ids[0]);
    expect(ids[2]).not.toBe(ids[0]);
  });

  it("gets no extra header from the name of a case", async () => {
    const mail = await openMailServer();
    const hq = target(mail.url);
    const evil = "Two\r\nBcc: thief@example.org\r\n\r\nhello\u2028Bcc: x\n.\r\nQUIT";
    const message = messageOf(notice({ key: `k\r\nBcc: x`, subject: evil, body: caseOf(evil, { text: evil, view: evil }) }), hq);
    await senderOf(hq, {})(message);
    await senderOf(hq, {})(digestOf([notice({ subject: evil, body: caseOf(evil, { view: evil }) })], hq));
    expect(mail.mails.length).toBe(2);
    for (const { raw, to } of mail.mails) {
      expect(to).toEqual(["a@example.org", "b@example.org"]);
      expect(headersOf(raw).filter((line) => /^(bcc|quit|hello)/i.test(line))).toEqual([]);
      expect(
        headersOf(raw)
          .map((line) => line.split(":")[0]!.toLowerCase())
          .sort(),
      ).toEqual([
        "auto-submitted",
        "content-transfer-encoding",
        "content-type",
        "date",
        "from",
        "message-id",
        "mime-version",
        "subject",
        "to",
      ]);
    }
  });

  it("fails for good when the server refuses it, and waits when the server asks to come back later", async () => {
    const refusing = await openMailServer({ onMailFrom: (_, __, callback) => callback(refusal(550, "no such sender")) });
    const busy = await openMailServer({ onMailFrom: (_, __, callback) => callback(refusal(451, "come back later")) });
    const send = (url: string) => senderOf(target(url), {})(messageOf(notice(), target(url)));
    expect(await send(refusing.url)).toMatchObject({ kind: "refused", note: expect.stringContaining("no such sender") });
    expect(await send(busy.url)).toMatchObject({ kind: "later", note: expect.stringContaining("come back later") });
  });

  it("waits when no server listens, and when a server says nothing", async () => {
    const silent = createServer(() => {});
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void silent.close());
    const { port } = silent.address() as { port: number };
    const hq = target(`smtp://127.0.0.1:${port}`);
    expect(await senderOf(hq, { sendTimeoutMs: 300 })(messageOf(notice(), hq))).toMatchObject({ kind: "later" });
    const nobody = target("smtp://127.0.0.1:9");
    expect(await senderOf(nobody, {})(messageOf(notice(), nobody))).toMatchObject({
      kind: "later",
      note: expect.stringContaining("ECONNREFUSED"),
    });
  });

  it("that some of its people do not get is sent, and says who was left out", async () => {
    const mail = await openMailServer({
      onRcptTo: ({ address }, _, callback) => callback(address.startsWith("b@") ? refusal(550, "who?") : null),
    });
    const hq = target(mail.url);
    expect(await senderOf(hq, {})(messageOf(notice(), hq))).toMatchObject({
      kind: "sent",
      missed: "the server did not take it for b@example.org",
    });
  });

  it("crosses no network in the clear, unless the settings allow it", async () => {
    const mail = await openMailServer({}, ELSEWHERE);
    const [insists, allows] = [target(mail.url), target(mail.url, { plaintext: true })];
    expect(await senderOf(insists, {})(messageOf(notice(), insists))).toMatchObject({
      kind: "refused",
      note: expect.stringContaining("STARTTLS"),
    });
    expect(mail.mails).toEqual([]);
    expect(await senderOf(allows, {})(messageOf(notice(), allows))).toMatchObject({ kind: "sent" });
  });

  it("is sent with the settings' login, and a wrong password is reported", async () => {
    const mail = await openMailServer({
      authOptional: false,
      allowInsecureAuth: true,
      onAuth: ({ username, password }, _, callback) =>
        username === "hub@org" && password === "p:w"
          ? callback(null, { user: username })
          : callback(refusal(535, "wrong password")),
    });
    const send = (user: string) => {
      const hq = target(mail.url.replace("//", `//${user}@`));
      return senderOf(hq, {})(testMessage(hq, NOW, "1"));
    };
    expect(await send("hub%40org:p%3Aw")).toMatchObject({ kind: "sent" });
    expect(await send("hub%40org:other")).toMatchObject({ kind: "refused", note: expect.stringContaining("wrong password") });
  });
});
