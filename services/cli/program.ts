import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";

/** The folder that the program stands in: a clone of the repository, or the installed package, which has the same folders. */
export const ROOT = resolve(import.meta.dirname, "../..");
/** Whether this is the package: compiled, without sample forms, views and data. */
export const IS_PACKAGE = import.meta.url.endsWith(".js");
/** How the files of this program end. */
export const EXTENSION = IS_PACKAGE ? "js" : "ts";
export const PROGRAM_VERSION = (JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string }).version;

/** The program itself, to be run as a process. */
export const MAIN = join(import.meta.dirname, `main.${EXTENSION}`);
/** The flag is there because SQLite of Node 24 still warns. */
export const NODE_FLAGS: readonly string[] = ["--disable-warning=ExperimentalWarning"];

/** In a clone these hold samples as well; in the package, the hub's own forms and views only. */
export const SCHEMAS_DIR = join(ROOT, "schemas");
export const PROJECTIONS_DIR = join(ROOT, "projections");
export const SAMPLES_DIR = join(ROOT, "test/data");

/** The subjects that the hub itself writes: their forms are in every hub, whatever a team's own folder has. */
export const OWN_SUBJECTS: readonly string[] = [
  "case-acceptance",
  "case-assignment",
  "case-comment",
  "conflict-resolution",
  "policy",
  "policy-removal",
  "quarantine-rejection",
  "quarantine-release",
  "replica-purge",
  "schema-change",
  "schema-registration",
  "site",
  "site-roles",
];
/** Files of `projections/` with the views that the hub's own commands read. */
export const OWN_VIEWS: readonly string[] = ["policies", "schemas", "sites"];
