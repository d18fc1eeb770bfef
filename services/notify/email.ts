import { createHash } from "node:crypto";
import type { Message } from "./message.ts";
import { noteOf, type Outcome, reasonOf, type Send } from "./outcome.ts";
import type { EmailSettings } from "./settings.ts";
import { within } from "./within.ts";

export const EMAIL_TIMEOUT_MS = 30_000;
const SUBMISSION_PORT = 587;
const SUBMISSIONS_PORT = 465;
const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]"]);

export interface EmailOptions {
  /** How long a whole sending may take. */
  readonly timeoutMs?: number;
}

/** Sends messages as plain text over SMTP, each over its own connection. */
export const emailSender = (settings: EmailSettings, { timeoutMs = EMAIL_TIMEOUT_MS }: EmailOptions = {}): Send => {
  let transport: ReturnType<typeof transportOf> | undefined;
  return async (message) => {
    try {
      transport ??= transportOf(settings, timeoutMs);
      const sending = (await transport).sendMail({
        from: settings.from,
        to: [...settings.to],
        subject: message.subject,
        text: message.text,
        messageId: messageId(message, settings),
        headers: { "Auto-Submitted": "auto-generated" },
        disableFileAccess: true,
        disableUrlAccess: true,
      });
      // A server that answers each step just in time could hold a sending for ever.
      return sentOutcome(await within(timeoutMs, sending, "not taken"));
    } catch (error) {
      return failedOutcome(error);
    }
  };
};

/** A message's id: the same for the same message to the same people, so that mail programs show a repetition as one message. */
export function messageId({ key }: Pick<Message, "key">, { from, to }: EmailSettings): string {
  const name = createHash("sha256")
    .update(JSON.stringify([key, ...to]))
    .digest("hex")
    .slice(0, 32);
  return `<${name}@${/@([^>]+)>?$/.exec(from)?.[1] ?? "tributary.invalid"}>`;
}

async function transportOf({ smtp, plaintext }: EmailSettings, timeoutMs: number) {
  // Loaded only to send an email: every command starts a tenth faster.
  const { createTransport } = await import("nodemailer");
  const secure = smtp.protocol === "smtps:";
  const auth =
    smtp.username === "" ? undefined : { user: decodeURIComponent(smtp.username), pass: decodeURIComponent(smtp.password) };
  return createTransport({
    host: smtp.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: smtp.port === "" ? (secure ? SUBMISSIONS_PORT : SUBMISSION_PORT) : Number(smtp.port),
    secure,
    // Neither people's data nor a password crosses a network in the clear, whatever a server (or somebody before it) offers.
    requireTLS: !secure && !plaintext && !LOOPBACK.has(smtp.hostname),
    ...(auth === undefined ? {} : { auth }),
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
  });
}

interface Sent {
  readonly response: string;
  readonly rejected: readonly unknown[];
}

/** A message that reached some of its people counts as sent, because another try would reach those twice. Who was left out is told. */
const sentOutcome = ({ response, rejected }: Sent): Outcome =>
  rejected.length === 0
    ? { kind: "sent", note: noteOf(response) }
    : { kind: "sent", note: noteOf(response), missed: noteOf(`the server did not take it for ${rejected.join(", ")}`) };

/** A 5xx reply is final (RFC 5321, 4.2.1). Everything else, such as a lost connection, may pass. */
function failedOutcome(error: unknown): Outcome {
  const code = error instanceof Error && "responseCode" in error ? error.responseCode : undefined;
  const isFinal = typeof code === "number" && code >= 500 && code < 600;
  return { kind: isFinal ? "refused" : "later", note: reasonOf(error) };
}
