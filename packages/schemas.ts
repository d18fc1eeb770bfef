/**
 * Forms: reading a folder of them, holding data to them, and telling whether a new version breaks what is in the field. The same in both packages.
 */
export {
  type Annotations,
  type Caster,
  type Casters,
  canRead,
  checkCompatibility,
  createGate,
  DEFAULT_LEVEL,
  type Finding,
  type Fits,
  type FitsHead,
  type Gate,
  type GateOptions,
  type Kind,
  type Level,
  type LintNote,
  lintSchema,
  NO_CASTERS,
  type Pins,
  type Problem,
  type Reference,
  type SchemaStore,
  type SchemaVersion,
  type Verdict,
} from "../services/gate/index.ts";
export { loadCasters, loadSchemas } from "../services/gate/node.ts";
