import { type Appendable, type IncarnationId, type Noted, notedText, TributaryError } from "../core/index.ts";
import { type LocalSigner, sha256Hex } from "../core/node.ts";

/** Signs a hub's notes on the events that it appends. `null`: the hub has no key. Throws `backend-unreachable` while it does not know which log it writes. */
export function signNotes(signer: LocalSigner | null, hub: IncarnationId | null, run: readonly Appendable[]): Noted | null {
  const [first] = run;
  if (signer === null || first === undefined) return null;
  if (hub === null)
    throw new TributaryError(
      "backend-unreachable",
      "the log has not said yet which hub it belongs to",
      "It is asked again; what was sent waits.",
    );
  const signature = signer.sign(notedText(hub, run, sha256Hex));
  return { hub, from: first.head.seq, signature };
}
