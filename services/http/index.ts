/**
 * HTTP, whatever is asked over it: the server and its limits, routes as a table, problem documents, and tokens. In come route tables of other parts, out go
 * answers. Never a body beyond its route's limit, never a request that waits without a bound.
 */
export {
  type Gatekeeper,
  type GatekeeperOptions,
  gatekeeper,
  issuePersonToken,
  MAX_TOKEN_CHARS,
  mustMay,
  type PersonClaims,
  type Principal,
  personName,
} from "./admission.ts";
export type { AskLimits } from "./jwks.ts";
export {
  fixedKeyring,
  type HubKey,
  hubKeyId,
  isSealed,
  type Keyring,
  keyring,
  OVERLAP_HOURS,
  type RingState,
  sealed,
  signingKeyAt,
  withNextKey,
  withoutKey,
} from "./keyring.ts";
export type { ApiInfo } from "./openapi.ts";
export { maySocket } from "./origins.ts";
export { PACE, type Pace, paced, WINDOW_S } from "./pace.ts";
export {
  fixedPeople,
  followPeople,
  NO_PEOPLE,
  type People,
  type PeopleSettings,
  type Provider,
  parsePeople,
  readPeople,
} from "./people.ts";
export { anyProblem, problem } from "./problem.ts";
export {
  type Admission,
  type Answer,
  type AnswerWords,
  type Asked,
  type Asking,
  anyone,
  type BodyKind,
  type Method,
  noBody,
  type Route,
  route,
  type Surface,
  type Upgrade,
} from "./route.ts";
export { type Limits, type Listening, listen, type ServerOptions } from "./server.ts";
export {
  type Claims,
  checkDevice,
  checkOrigin,
  type Doorkeeper,
  doorkeeper,
  ISSUER,
  issueToken,
  type JSONWebKeySet,
  type JWK,
  MAY_READ_SCHEMAS,
  makeKey,
  publicKey,
  SCOPE_APPEND,
  SCOPE_ENROL,
  SCOPE_SCHEMAS,
  SCOPE_SCHEMAS_READ,
  type Shown,
} from "./tokens.ts";
