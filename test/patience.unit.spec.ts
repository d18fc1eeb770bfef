import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { clockLimits } from "./support/clocks.ts";

const ROOT = import.meta.dirname;

/** Limits by the clock that a busy machine does not break, or breaks without harm, and why. By file, and by the source of each. */
const ALLOWED: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "client/request.unit.spec.ts": {
    "timeoutMs: 0": "It is refused.",
    "timeoutMs: 50": "Nothing answers there, which is what is tested.",
  },
  "e2e/crash.e2e.spec.ts": { "replyTimeoutMs: 8_000": "Who gets no answer in this time asks again, as often as it takes." },
  "e2e/servers.e2e.spec.ts": { "replyTimeoutMs: 8_000": "Who gets no answer in this time asks again, as often as it takes." },
  "http/jwks.int.spec.ts": { "timeoutMs: 200": "Nothing answers there, which is what is tested." },
  "ingress/heal.int.spec.ts": { "replyTimeoutMs: 5_000": "Who gets no answer in this time asks again, as often as it takes." },
  "local/engine.int.spec.ts": { "timeout: 500": "Who gets no answer in this time asks again, as often as it takes." },
  "local/keep.int.spec.ts": {
    "lookTimeoutMs: 300": "The server is suspended; that a busy one is said to be silent too is allowed for.",
  },
  "local/nats-cluster.int.spec.ts": {
    "replyTimeoutMs: 4_000": "Who gets no answer in this time asks again, as often as it takes.",
  },
  "local/nats-logins.int.spec.ts": { "timeout: 500": "Nothing answers there, which is what is tested." },
  "notify/deliver.int.spec.ts": { "sendTimeoutMs: 200": "Nothing answers there, which is what is tested." },
  "notify/email.int.spec.ts": { "sendTimeoutMs: 300": "Nothing answers there, which is what is tested." },
  "security/broker.int.spec.ts": { "replyTimeoutMs: 1_000": "Nothing answers there, which is what is tested." },
  "security/keys.int.spec.ts": {
    "i < 4 || Date.now() < nowMs + 3_000":
      "A key turns meanwhile: the loop goes on at least so long, and has a least number of rounds.",
  },
  "support/faults/hub.ts": {
    "Date.now() < until": "It is as long as WAIT_MS.",
    "timeout: 2_000": "Where the broker is away, the fault is left out.",
  },
  "support/faults/tablets.ts": { "replyTimeoutMs: 5_000": "Who gets no answer in this time asks again, as often as it takes." },
};

const files = readdirSync(ROOT, { recursive: true, encoding: "utf8" })
  .filter((name) => /\.(ts|mts)$/.test(name))
  .sort();
const sourceOf = (name: string): string => readFileSync(join(ROOT, name), "utf8");
const limits = files.flatMap((name) => clockLimits(name, sourceOf(name)).map((limit) => ({ name, ...limit })));

describe("a test does not fail because the machine is busy:", () => {
  it("none has a limit by the clock, but for those that say why it does no harm", () => {
    const found = limits
      .filter(({ name, text }) => ALLOWED[name]?.[text] === undefined)
      .map(({ name, line, text, why }) => `${name}:${line} ${why}: ${text}`);
    expect(found, "wait for what happens (`eventually`, `promptly`, WAIT_MS of test/support/patience.ts), or count work").toEqual(
      [],
    );
  });

  it("each that says why is there", () => {
    const idle = Object.entries(ALLOWED).flatMap(([name, texts]) =>
      Object.keys(texts)
        .filter((text) => !limits.some((limit) => limit.name === name && limit.text === text))
        .map((text) => `${name}: ${text}`),
    );
    expect(idle).toEqual([]);
  });

  it("each folder that a test makes is the warden's, so that it goes when the test fails", () => {
    const own = files.filter((name) => name !== "support/home.ts" && /mkdtemp(Sync)?\(/.test(sourceOf(name)));
    expect(own.filter((name) => !MAY_MAKE_FOLDERS.has(name))).toEqual([]);
  });

  it("each process that a test starts has the environment by which the warden finds it", () => {
    const bare = files.flatMap((name) =>
      [...sourceOf(name).matchAll(/^.*\benv: \{(?! \.\.\.(?:process\.env|env)\b).*$/gm)].map(
        ([line]) => `${name}: ${line.trim()}`,
      ),
    );
    expect(bare).toEqual([]);
  });
});

/** The warden makes the folder of the run. */
const MAY_MAKE_FOLDERS = new Set(["support/warden.ts", "patience.unit.spec.ts"]);

describe("the reader of clocks", () => {
  const of = (...lines: readonly string[]): string[] =>
    clockLimits("x.ts", lines.join("\n")).map(({ line, why }) => `${line} ${why}`);

  it("finds upper bounds of times, and no other bounds", () => {
    expect(
      of(
        "expect(tookMs).toBeLessThan(5);",
        "expect(performance.now() - began).toBeLessThanOrEqual(5);",
        'expect(Math.abs(t - Date.now() / 1_000), "why").toBeCloseTo(0);',
        "expect(elapsed).not.toBeLessThan(5);",
        "expect(answer.ms).toBeGreaterThan(5);",
        "expect(items.length).toBeLessThan(5);",
        "expect(status).toBeLessThanOrEqual(Date.now());",
      ),
    ).toEqual(["1 a time has an upper bound", "2 a time has an upper bound", "3 a time has an upper bound"]);
  });

  it("finds bounds of tests, hooks and waits", () => {
    expect(
      of(
        'it("a", () => {}, 5_000);',
        'it.each([1])("a", { timeout: 60_000 }, () => {});',
        "afterAll(() => {}, 60 * 1000);",
        'await eventually("a", check, 5);',
        "nc.request(subject, body, { timeout: 5_000 });",
        "field.sync({ replyTimeoutMs: 5 });",
        "AbortSignal.timeout(5);",
        "for (const until = Date.now() + 5; Date.now() < until; ) {}",
        'it("a", () => {});',
        "field.sync({ replyTimeoutMs: WAIT_MS });",
        "setTimeout(() => {}, 5);",
      ),
    ).toEqual([
      "1 a test or hook has a timeout of its own",
      "2 a bound of its own",
      "3 a test or hook has a timeout of its own",
      "4 a wait has a bound of its own",
      "5 a bound of its own",
      "6 a bound of its own",
      "7 a wait has a bound of its own",
      "8 a loop ends by the clock",
    ]);
  });
});
