import { z } from "zod";
import { isTributaryError, type JsonObject, TributaryError } from "../core/index.ts";
import { sha256Hex, zstd } from "../core/node.ts";
import { openPostgresFeed, type PostgresFeed, type Server, serve } from "../exchange/index.ts";
import { encodePage, type Page, type PullRequest, pageText, pullRequestSchema } from "../exchange/protocol/index.ts";
import type { Gate, Pins } from "../gate/index.ts";
import type { Puller, Pulls } from "../ingress/index.ts";
import type { Log } from "../log/index.ts";
import type { View } from "../merge/engine.ts";

export interface DoorPulls extends Pulls {
  close(): Promise<void>;
}

export interface DoorPullsOptions {
  readonly postgresUrl: string;
  readonly log: Pick<Log, "at">;
  readonly gate: Pick<Gate, "store">;
  /** The views as they are live; `null`: that is not known yet. */
  readonly views: () => readonly View[] | null;
  /** The versions in which the live views read events, by view. */
  readonly readers?: () => Readonly<Record<string, Pins>>;
  readonly say: (event: Record<string, unknown>) => void;
}

interface Serving {
  readonly views: readonly View[];
  readonly feed: PostgresFeed;
  readonly server: Server;
}

/** A page is asked for with half of what it may hold, where it came out too large. */
const SMALLER = 0.5;
const LEAST_BYTES = 1_000;

/**
 * Makes pages of what the hub's PostgreSQL holds, for the views that are live. While it is not known which these are, pulls are refused: by the buckets of other
 * views, replicas would delete what they may hold. When other views are swapped in, serving begins anew.
 */
export function openPulls({ postgresUrl, log, gate, views, readers = () => ({}), say }: DoorPullsOptions): DoorPulls {
  let serving: Serving | null = null;
  const current = (): Server => {
    const live = views();
    if (live === null)
      throw new TributaryError(
        "backend-unreachable",
        "the hub does not know yet that its views are built as declared",
        "Pull again in a few seconds. If it lasts: `tributary lag` and `tributary rebuild` at the hub.",
      );
    if (serving?.views !== live) {
      const before = serving;
      const feed = openPostgresFeed({ postgresUrl, views: live, entryAt: (origin, seq) => log.at(origin, seq) });
      serving = {
        views: live,
        feed,
        server: serve(feed, { views: live, schemas: () => gate.store, readers: () => olderThanNewest(gate, readers()), say }),
      };
      void before?.feed.close();
    }
    return serving.server;
  };
  const pageFor = async (request: PullRequest, puller: Puller): Promise<Uint8Array> => {
    const { org, site, device, hub, incarnation, nowMs, sign } = puller;
    const holder = { kind: "site", org, site } as const;
    const page = await current().answer(request, { holder, device, hub, incarnation, nowMs });
    return encodePage(page, {
      compression: isEmpty(page) ? null : zstd,
      sha256: sha256Hex,
      ...(sign === null ? {} : { sign: (digest) => sign(pageText(request.nonce, digest)) }),
    });
  };
  return {
    // A JSON Schema is JSON, but zod's type for one has `unknown` members.
    schema: z.toJSONSchema(pullRequestSchema, { unrepresentable: "any", io: "input" }) as unknown as JsonObject,
    async page(asked, puller) {
      const read = pullRequestSchema.safeParse(asked);
      if (!read.success)
        throw new TributaryError(
          "input-malformed",
          `the pull cannot be read: ${z.prettifyError(read.error)}`,
          "See docs/exchange.md for what it says.",
        );
      let request = { ...read.data, maxBytes: Math.min(read.data.maxBytes, puller.maxBytes) };
      for (;;) {
        try {
          const frame = await pageFor(request, puller);
          if (frame.length <= puller.maxBytes || request.maxEvents === 1) return frame;
        } catch (error) {
          if (!isTributaryError(error)) throw unreadable(error);
          if (error.code !== "page-too-large" || request.maxEvents === 1) throw error;
        }
        request = smaller(request);
      }
    },
    close: async () => serving?.feed.close(),
  };
}

/** Whether a page only says that nothing has changed: a hundred bytes, which packing would not make fewer. */
const isEmpty = ({ holding, ends, withdrawn, sections }: Page): boolean =>
  holding === null && ends === null && withdrawn.length === 0 && sections.length === 0;

const smaller = (request: PullRequest): PullRequest => ({
  ...request,
  maxEvents: Math.max(1, Math.floor(request.maxEvents * SMALLER)),
  maxBytes: Math.max(LEAST_BYTES, Math.floor(request.maxBytes * SMALLER)),
});

/** A driver's words name addresses and users. They go into the hub's log, and the asker is told that it is the hub. */
const unreadable = (error: unknown): TributaryError =>
  new TributaryError("backend-failed", "the hub's views cannot be read now", "Pull again in a few seconds.", { cause: error });

/** Of the versions in which views read, those that are older than the newest. */
function olderThanNewest({ store }: Pick<Gate, "store">, readers: Readonly<Record<string, Pins>>): Record<string, Pins> {
  const older = Object.entries(readers).map(([view, pins]): [string, Pins] => [
    view,
    Object.fromEntries(Object.entries(pins).filter(([subject, version]) => version < store.versions(subject).length)),
  ]);
  return Object.fromEntries(older.filter(([, pins]) => Object.keys(pins).length > 0));
}
