/**
 * What other programs ask of a hub over HTTP, as tables of routes. In come requests, already parted into route and body; out come answers. Never an answer without
 * asking who asks.
 */
export { type Authorize, registrySurface } from "./registry/surface.ts";
