import type { NatsConnection } from "nats";
import { isTributaryError, TributaryError } from "../core/index.ts";
import { issueToken } from "../http/index.ts";
import {
  connectBroker,
  type DeadLetter,
  deadLetter,
  deadLetters,
  MAX_DEAD_AGE_DAYS,
  MAX_DEAD_BYTES,
  type RetryOptions,
  retryDead,
} from "../ingress/index.ts";
import { natsSettings } from "../local/index.ts";
import { type Command, ROW_COUNT } from "./args.ts";
import { hubKey, hubRing } from "./keys.ts";
import { table } from "./output.ts";
import { hubDir } from "./paths.ts";
import { runningHub } from "./reach.ts";

const DEFAULT_LIMIT = 100;
const ALL = Number.MAX_SAFE_INTEGER;
/** The token that lets a retried batch in is good for that batch alone, and for this long; the hub allows half a minute more. */
const TOKEN_S = 30;
/** Events of a letter that are shown to people; all are in --json. */
const SHOWN_EVENTS = 20;

async function withBroker<T>(data: string | undefined, work: (nc: NatsConnection) => Promise<T>): Promise<T> {
  const { natsUrl } = await runningHub(data, ["nats"]);
  const nc = await connectBroker(natsUrl, "tributary-cli", natsSettings());
  try {
    return await work(nc);
  } finally {
    await nc.close();
  }
}

export const deadList: Command = {
  name: "dead list",
  summary: "show batches that could not be taken at all",
  usage: "tributary dead list [--after NUMBER] [--limit N] [--data DIR]",
  help: `A batch whose frame is damaged, whose hashes do not add up, or that is a fork of what is in the log cannot go into the log, and no repetition helps. The hub
keeps it with the reason: ${MAX_DEAD_BYTES / 1_048_576} MiB at most and ${MAX_DEAD_AGE_DAYS} days, the oldest go first. The device that sent it still has its events.`,
  maxPositionals: 0,
  options: { data: { type: "string" }, after: { type: "string" }, limit: { type: "string" } },
  async run({ text, number, out }) {
    const limit = number("limit", DEFAULT_LIMIT, ROW_COUNT);
    const { letters, total } = await withBroker(text("data"), (nc) =>
      deadLetters(nc, { after: number("after", 0, { least: 0, most: Number.MAX_SAFE_INTEGER }), limit }),
    );
    out.result({ total, letters: letters.map(inJson) });
    if (letters.length === 0) {
      out.line(total === 0 ? "There are no dead letters." : "There are no more dead letters.");
      return 0;
    }
    out.line(
      table(
        ["number", "from", "code", "received", "bytes", "reason"],
        letters.map((letter) => [letter.number, letter.sender, letter.code, letter.receivedAt, letter.bytes, letter.reason]),
      ),
    );
    if (letters.length < total) out.line(`\n${total} in all; \`--after ${letters.at(-1)!.number}\` shows the next.`);
    return 0;
  },
};

/** A letter as JSON, where the sender has an older name. */
const inJson = <T extends DeadLetter>({ sender, ...letter }: T) => ({ ...letter, place: sender });

export const deadShow: Command = {
  name: "dead show",
  summary: "show a dead letter: who sent what, as far as it can be read",
  usage: "tributary dead show NUMBER [--data DIR]",
  help: "Prints the reason and, if the frame can still be read, its origin and the envelopes of its events. `tributary dead list` has the numbers.",
  maxPositionals: 1,
  options: { data: { type: "string" } },
  async run({ positionals, text, out }) {
    const [number] = numbersOf(positionals, deadShow.usage);
    if (number === undefined) throw new TributaryError("usage", "the letter's number is missing", `Use: ${deadShow.usage}`);
    const letter = await withBroker(text("data"), (nc) => deadLetter(nc, number));
    out.result(inJson(letter));
    out.line(`Letter ${letter.number}, from ${letter.sender}, received ${letter.receivedAt}, ${letter.bytes} bytes`);
    out.line(`${letter.code}: ${letter.reason}\n`);
    const { content } = letter;
    if (content.kind === "unreadable") {
      out.line(`Nothing can be read of it: ${content.why}`);
      return 0;
    }
    out.line(
      `Events ${content.firstSeq} to ${content.lastSeq} of ${content.origin}, sent ${content.sentAt} by the device's clock`,
    );
    out.line(
      table(
        ["seq", "type", "entity", "happened", "actor", "bytes"],
        content.events.slice(0, SHOWN_EVENTS).map((e) => [e.seq, e.type, e.entity, e.occurredAt, e.actor, e.bytes]),
      ),
    );
    if (content.events.length > SHOWN_EVENTS) out.line(`… and ${content.events.length - SHOWN_EVENTS} more; --json has all.`);
    return 0;
  },
};

export const deadRetry: Command = {
  name: "dead retry",
  summary: "send dead letters in again, to be checked once more",
  usage: "tributary dead retry NUMBER… | --all [--data DIR]",
  help: `Use it after a fix. The hub checks the batch like any other. It removes what it takes from the dead letters. What it refuses again stays, and the command ends with
the refusal's exit code. The hub lets the batch in with a token of its own, which is good for this batch alone, for
its device and for what its events are about. The batch's hashes and signature are checked as always. So with a retry you vouch for a site whose token has expired or was revoked. A device that was
revoked stays out. Only the hub's own signed word removes a letter.`,
  options: { data: { type: "string" }, all: { type: "boolean" } },
  async run({ positionals, text, flag, out }) {
    const given = numbersOf(positionals, deadRetry.usage);
    if (given.length === 0 && !flag("all")) throw new TributaryError("usage", "no letter is named", `Use: ${deadRetry.usage}`);
    const dir = hubDir(text("data"));
    const key = await hubKey(dir);
    const options: RetryOptions = {
      hubKeys: (await hubRing(dir)).state().alive,
      tokenFor: (sender) => issueToken(key, { ...sender, lifetimeS: TOKEN_S, nowMs: Date.now() }),
    };
    const results = await withBroker(text("data"), async (nc) => {
      const numbers = given.length > 0 ? given : (await deadLetters(nc, { limit: ALL })).letters.map((letter) => letter.number);
      const done: Retried[] = [];
      for (const number of numbers) done.push(await retried(nc, number, options));
      return done;
    });
    out.result(results.map(({ error: _, ...result }) => result));
    if (results.length === 0) out.line("There are no dead letters.");
    for (const { number, outcome, reason } of results)
      out.line(`Letter ${number}: ${outcome}${reason === null ? "" : `, ${reason}`}`);
    // The results have been told; the exit code is that of the first batch that was not taken.
    return results.find(({ error }) => error !== null)?.error?.exitCode ?? 0;
  },
};

interface Retried {
  readonly number: number;
  readonly outcome: "taken" | "refused" | "queued";
  readonly reason: string | null;
  readonly error: TributaryError | null;
}

async function retried(nc: NatsConnection, number: number, options: RetryOptions): Promise<Retried> {
  try {
    const reply = await retryDead(nc, number, options);
    if (reply?.kind === "receipt") return { number, outcome: "taken", reason: null, error: null };
    if (reply === null) {
      const error = new TributaryError(
        "backend-unreachable",
        "the hub has not answered yet",
        "The batch is queued; see `tributary dead list` later.",
      );
      return { number, outcome: "queued", reason: error.message, error };
    }
    throw new TributaryError(reply.code, reply.message, reply.hint);
  } catch (error) {
    // A letter that is not there, and a broker that is away, end the command.
    if (!isTributaryError(error) || error.code === "not-found" || error.exitCode === BROKER_AWAY) throw error;
    return { number, outcome: "refused", reason: `${error.code}: ${error.message}`, error };
  }
}
const BROKER_AWAY = 7;

function numbersOf(given: readonly string[], usage: string): number[] {
  return given.map((text) => {
    if (!/^[1-9]\d{0,14}$/.test(text))
      throw new TributaryError("usage", `${JSON.stringify(text)} is not a letter's number`, `Use: ${usage}`);
    return Number(text);
  });
}
