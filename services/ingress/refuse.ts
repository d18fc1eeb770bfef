/** Whose tokens are refused: those that the book of keys says were revoked. In come a token's claims; it throws `revoked`, or does nothing. */
import { siteRevokedWords, TributaryError } from "../core/index.ts";
import type { Claims, PersonClaims } from "../http/index.ts";
import type { KeyBook } from "../log/index.ts";

/** For the doorkeeper: refuses tokens that were revoked themselves or with their site. */
export const refuseRevoked =
  (book: KeyBook) =>
  ({ jti, org, site, issuedAtS }: Claims): void => {
    const { record } = book;
    const since = record.revocationOf(`${org}.${site}`);
    const bySite = since !== null && issuedAtS <= since.issuedThroughS;
    if (!bySite && (jti === null || !record.isTokenRevoked(jti))) return;
    throw new TributaryError(
      "revoked",
      bySite ? siteRevokedWords(`${org}.${site}`) : "the token was revoked",
      "Ask your coordinator.",
    );
  };

/**
 * For the gatekeeper: refuses people who were revoked, or whose token was. While it is not known who was, nobody is let in: a person can come back in a moment, and a
 * revocation must hold.
 */
export const refuseRevokedPerson =
  (book: KeyBook) =>
  ({ subject, issuer, issuedAtS, jti }: PersonClaims): void => {
    const { record, isRead } = book;
    if (!isRead)
      throw new TributaryError(
        "backend-unreachable",
        "the hub cannot read yet whose tokens were revoked",
        "Its event store is away. Try again in a minute.",
      );
    const throughS = record.personRevokedThroughS(subject, issuer);
    const isPerson = throughS !== null && issuedAtS <= throughS;
    if (!isPerson && (jti === null || !record.isTokenRevoked(jti))) return;
    throw new TributaryError(
      "revoked",
      isPerson ? `the tokens of ${subject} were revoked` : "the token was revoked",
      "Ask the hub's people for a new one.",
    );
  };
