import { formatHlc, type Hello, MAX_OTHER_ORIGINS, observe, type Seq, type TributaryError } from "../../core/index.ts";
import { CLOCK_LIMIT_MS, judgedMs, lastStamp } from "../clock.ts";
import { noteCompared } from "../life.ts";
import type { OriginRow } from "../rows.ts";
import { align, lowerOthers } from "./align.ts";
import { asMarks, learnSettled, nextMarks } from "./marks.ts";
import { ask, askAgain, type Pass, type PushDeps, sinceOf, type Tally } from "./pass.ts";

/** An answer holds a bounded number of schemas; the device asks for more at most so many times. */
const MAX_SCHEMA_ROUNDS = 20;

/** The first question: about the epoch that writes now, whether the log has all of the earlier ones, and what became of quarantined events. */
export async function open(
  deps: PushDeps,
  pass: Pass,
): Promise<
  { readonly kind: "open"; readonly aligned: number } | { readonly kind: "away"; readonly because: TributaryError | null }
> {
  const { store, schemas } = deps;
  const current = store.current();
  const others = store
    .origins()
    .filter(({ id, syncedThrough }) => id !== current.id && syncedThrough >= 0)
    .map(({ name, syncedThrough }) => ({ origin: name, through: syncedThrough as Seq }));
  const marks = nextMarks(store);
  const answer = await ask(pass, {
    origin: current.name,
    since: sinceOf(current),
    ...(others.length === 0 ? {} : { others: others.slice(0, MAX_OTHER_ORIGINS) }),
    ...asMarks(marks),
    ...(schemas === null ? {} : { schemas: schemas.digest() }),
  });
  if (answer.kind === "away") return answer;
  const { hello } = answer;
  if (hello.schemas?.differ) await exchangeSchemas(deps, pass, current);
  learnClock(deps, hello, pass.tally);
  pass.avro = Object.fromEntries(
    Object.entries(deps.gate.avroFingerprints()).filter(([schema, fingerprint]) => hello.avro[schema] === fingerprint),
  );
  if (answer.isOurs) lowerOthers(pass, hello);
  const lives = new Set([answer.isOurs ? hello.receipt.incarnation : undefined]);
  for (let at = MAX_OTHER_ORIGINS; at < others.length; at += MAX_OTHER_ORIGINS) {
    const more = await askAgain(pass, {
      origin: current.name,
      since: current.nextSeq === 0 ? null : ((current.nextSeq - 1) as Seq),
      others: others.slice(at, at + MAX_OTHER_ORIGINS),
    });
    if (more.isOurs) lowerOthers(pass, more.hello);
    lives.add(more.isOurs ? more.hello.receipt.incarnation : undefined);
  }
  await align(pass, current.id, hello, answer.isOurs);
  const [life] = lives;
  if (life !== undefined && lives.size === 1) noteCompared(store, life);
  if (answer.isOurs) await learnSettled(pass, current.id, hello, marks);
  return { kind: "open", aligned: current.id };
}

/** Learns what the hub has registered since, and proposes what this device writes with and the hub does not know. */
async function exchangeSchemas({ schemas }: PushDeps, pass: Pass, origin: OriginRow): Promise<void> {
  if (schemas === null) return;
  const { transport, tally } = pass;
  const question = { origin: origin.name, since: origin.nextSeq === 0 ? null : ((origin.nextSeq - 1) as Seq) };
  for (let rounds = 0; rounds < MAX_SCHEMA_ROUNDS; rounds++) {
    const outcome = await transport.hello({ ...question, have: schemas.have() });
    const answer = outcome.kind === "hello" ? outcome.hello.schemas : undefined;
    if (answer === undefined) return;
    const learnt = schemas.learn(answer.news ?? []);
    tally.schemasLearnt += learnt;
    const offers = schemas.offers(answer.unknown ?? []);
    // One at a time: a schema may be large, and a broker's message must be small.
    for (const offer of offers) await transport.hello({ ...question, proposes: [offer] });
    tally.schemasProposed += offers.length;
    if (learnt === 0 || offers.length > 0) return;
  }
}

/** Notes how far the device's clock is off. A logical clock that ran ahead with a wrong wall clock starts again once the wall clock is right. */
function learnClock({ store, now }: PushDeps, hello: Hello, tally: Tally): void {
  const offsetMs = now() - hello.nowMs;
  tally.clockOffsetMs = offsetMs;
  store.transaction(() => {
    store.setMeta("clock_offset_ms", String(Math.round(offsetMs)));
    const last = lastStamp(store);
    const ranAhead = last !== null && last.wallMs > hello.nowMs + CLOCK_LIMIT_MS;
    const isRight = Math.abs(offsetMs) < CLOCK_LIMIT_MS;
    // What is written next is stamped after what was heard. If this device's clock has lost the time altogether, the hub's clock is believed however far ahead it is.
    const heard = { wallMs: Math.trunc(hello.nowMs), counter: 0 };
    const next = observe(ranAhead && isRight ? null : last, heard, judgedMs(now(), hello.nowMs), CLOCK_LIMIT_MS);
    if (next === null) store.rows.removeMeta("hlc");
    else store.setMeta("hlc", formatHlc(next));
  });
}
