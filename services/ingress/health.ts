import { isTributaryError, messageOf } from "../core/index.ts";
import type { Answer } from "../http/index.ts";
import type { Acceptor } from "./accept.ts";
import type { BrokerWatch } from "./broker.ts";
import type { Hubs } from "./hubs.ts";
import { inTime, type Standing } from "./standing.ts";

/** A check that has not answered by then has failed. */
const CHECK_TIMEOUT_MS = 2_500;

/** How one part of the hub is. A `warning` is for a person to look at; the hub does its work nevertheless. */
export type PartState =
  | { readonly state: "ok"; readonly facts?: Readonly<Record<string, unknown>> }
  | { readonly state: "warning" | "failed"; readonly reason: string; readonly facts?: Readonly<Record<string, unknown>> };
export type PartCheck = () => Promise<PartState>;
export type PartChecks = Readonly<Record<string, PartCheck>>;

const ok = (facts?: Readonly<Record<string, unknown>>): PartState => ({ state: "ok", ...(facts === undefined ? {} : { facts }) });
const failed = (reason: string): PartState => ({ state: "failed", reason });

/** The parts that ingress itself knows. All of them are watched anyway, so asking costs nothing. */
export function ownParts({
  broker,
  standing,
  hubs,
  accepts,
}: {
  broker: BrokerWatch;
  standing: Standing;
  hubs: Hubs;
  accepts: Pick<Acceptor, "behind">;
}): PartChecks {
  const said = (reason: string | null, facts?: Readonly<Record<string, unknown>>): PartState =>
    reason === null ? ok(facts) : failed(reason);
  return {
    broker: async () => said(broker.state().broker),
    stream: async () => said(broker.state().stream, { batches: broker.state().waiting }),
    consumer: async () => said(broker.state().consumer, { handedOut: broker.state().handedOut }),
    log: async () => said(standing.away()?.message ?? null, { end: standing.seen().end?.toString() ?? null }),
    hubs: async () => {
      const others = hubs.strangers();
      const names = others.map(({ name }) => name).join(", ");
      if (others.length > 0)
        return failed(`another hub, with another log, takes batches from this broker (${names}): stop one of them`);
      const { otherHub } = broker.state();
      if (otherHub !== null)
        return { state: "warning", reason: `the broker's stream was last used by another hub (${otherHub.name})` };
      return ok({ processes: hubs.peers() + 1 });
    },
    incarnation: async () => {
      const life = standing.incarnation();
      const behind = accepts.behind();
      const facts = { id: life?.id ?? null, originsBehind: behind.length };
      if (life !== null && !life.isConfirmed)
        return {
          state: "warning",
          reason: `the log was found to hold less than before, and no operator has confirmed it${life.note === null ? "" : `: ${life.note}`}`,
          facts,
        };
      const [first] = behind;
      if (first === undefined) return ok(facts);
      const reason = `restored-behind: the log holds less than ${behind.length} devices have receipts for (${first.origin}: ${first.through ?? "nothing"} of ${first.since})`;
      return { state: "warning", reason, facts };
    },
  };
}

export interface Health {
  /** Whether the process is alive. It depends on nothing else. */
  alive(): Answer;
  /** Whether the hub does its work: 200, or 503 with the reason, part by part. */
  ready(): Promise<Answer>;
}

/** Asks all parts at the same time, each with its own time limit. Questions that come while one is being answered share its answer. */
export function health(parts: PartChecks, timeoutMs = CHECK_TIMEOUT_MS): Health {
  let asking: Promise<Answer> | null = null;
  const stateOf = async (check: PartCheck): Promise<PartState> => {
    try {
      return await inTime(check(), timeoutMs, () => new Error(`no answer in ${timeoutMs} ms`));
    } catch (error) {
      return failed(isTributaryError(error) ? error.message : messageOf(error));
    }
  };
  const ask = async (): Promise<Answer> => {
    const states = await Promise.all(Object.entries(parts).map(async ([part, check]) => ({ part, ...(await stateOf(check)) })));
    const of = (state: PartState["state"]) =>
      states.flatMap((found) =>
        found.state === state && found.state !== "ok" ? [{ part: found.part, reason: found.reason }] : [],
      );
    const reasons = of("failed");
    return {
      status: reasons.length === 0 ? 200 : 503,
      body: {
        ready: reasons.length === 0,
        ...Object.fromEntries(states.map(({ part, state }) => [part, state])),
        reasons,
        warnings: of("warning"),
        facts: Object.fromEntries(states.flatMap(({ part, facts }) => (facts === undefined ? [] : [[part, facts]]))),
      },
    };
  };
  return {
    alive: () => ({ status: 200, body: { alive: true } }),
    ready() {
      asking ??= ask().finally(() => {
        asking = null;
      });
      return asking;
    },
  };
}
