import { canonicalize, sha256 } from "../core/index.ts";
import type { Projection } from "./projection.ts";

const known = new WeakMap<Projection, string>();

/** SHA-256 of all that a view's rows follow from besides events, in hexadecimal: where two sides have the same, the same events show the same rows. */
export function shapeDigest(projection: Projection): string {
  let digest = known.get(projection);
  if (digest === undefined) {
    digest = sha256(canonicalize(projection.shape));
    known.set(projection, digest);
  }
  return digest;
}
