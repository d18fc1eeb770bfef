/**
 * What other programs ask of a hub over HTTP. In come requests, already parted into route and body; out come answers. Never an answer without
 * asking who asks.
 */
export { type Authorize, type RegistryApi, registryApi } from "./registry.ts";
