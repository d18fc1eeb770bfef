/**
 * What other programs ask of a hub over HTTP, as tables of routes. In come requests, already parted into route and body; out come answers. Nothing is
 * answered before it is known who asks.
 */
export { anybodyKnown, type Me, meSurface } from "./me.ts";
export { type Authorize, registrySurface } from "./registry/surface.ts";
