/** The way from a device to a hub in memory, for whole syncs and pulls: the device's own code, the hub's own answers, signed pages; what goes wrong on the way is chosen by the test. */
import { type Refusal, TributaryError } from "../../services/core/index.ts";
import { type LocalSigner, makeKeyPair, sha256Hex, signerOf, zstd } from "../../services/core/node.ts";
import { serve } from "../../services/exchange/index.ts";
import { encodePage, type Page, type PullRequest, pageText, pullRequestSchema } from "../../services/exchange/protocol/index.ts";
import type { Field, SyncOptions } from "../../services/field/index.ts";
import { openIdentity, pinHub } from "../../services/field/keys.ts";
import type { Transport } from "../../services/field/way.ts";
import type { MemoryHub } from "./memory-hub.ts";
import { memoryTransport } from "./memory-push.ts";
import { askerOf } from "./memory-replica.ts";

export interface Way {
  /** For `field.sync` and `field.pull`. */
  readonly options: SyncOptions;
  /** What was asked, in order. */
  readonly asked: PullRequest[];
  readonly pages: Page[];
  /** Asked before each pull: an error is thrown instead of an answer. */
  befalls: (n: number) => TributaryError | null;
  /** What becomes of each page on its way. */
  changes: (frame: Uint8Array, request: PullRequest) => Uint8Array;
  /** A refusal in place of every page. */
  refusal: Pick<Refusal, "code" | "message" | "hint"> | null;
}

export const linkLost = (): TributaryError => new TributaryError("backend-unreachable", "the link is gone", "Try again.");

/** `isPinned`: the device knows the hub's key, and believes only what it has signed. */
export function memoryWay(hub: MemoryHub, field: Field, { isPinned = true }: { readonly isPinned?: boolean } = {}): Way {
  const signer: LocalSigner = signerOf(makeKeyPair());
  if (isPinned) pinHub(field.store, [signer.key]);
  const { org, site, device } = field.store.name;
  let asks = 0;
  const way: Way = {
    options: {
      url: "nats://memory",
      sleep: async () => {},
      random: () => 0,
      open: async () => transport(),
    },
    asked: [],
    pages: [],
    befalls: () => null,
    changes: (frame) => frame,
    refusal: null,
  };
  const transport = (): Transport => {
    const pushes = memoryTransport(hub, field);
    const identity = openIdentity(field.store, { url: "nats://memory", now: hub.now });
    let receivedBytes = 0;
    return {
      ...pushes,
      get sentBytes() {
        return pushes.sentBytes;
      },
      get receivedBytes() {
        return receivedBytes;
      },
      identity,
      async pull(question) {
        const request = pullRequestSchema.parse(identity.pulls(question));
        way.asked.push(request);
        const mishap = way.befalls(asks++);
        if (mishap !== null) throw mishap;
        if (way.refusal !== null) throw new TributaryError(way.refusal.code, way.refusal.message, way.refusal.hint);
        const page = await serve(hub.store, { views: hub.views }).answer(request, askerOf(hub, `${org}.${site}.${device}`));
        way.pages.push(page);
        const frame = encodePage(page, {
          compression: zstd,
          pack: (schema, text) => hub.gate.payload(schema, text, true),
          sha256: sha256Hex,
          sign: (digest) => signer.sign(pageText(request.nonce, digest)),
        });
        const came = way.changes(frame, request);
        receivedBytes += came.length;
        if (identity.believesPage(came, request.nonce)) return came;
        throw new TributaryError("hub-unproven", "the page is not signed by the hub", "Nothing was believed.");
      },
    };
  };
  return way;
}
