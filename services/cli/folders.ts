/**
 * Which schemas and projections a command works with. What was given, what the hub was started with and the team's files go in; forms and views come out, always
 * with the hub's own among them. A command that works on a hub never gets other rules than the hub's.
 *
 *   given to a command on a hub, and other than the hub's ─▶ refused     none given ─▶ the hub's
 *   given to `tributary hub` ─▶ from now on the hub's                    none given ─▶ those of its last start
 */

import { existsSync, realpathSync } from "node:fs";
import { join, resolve } from "node:path";
import { TributaryError } from "../core/index.ts";
import { type Casters, NO_CASTERS, type SchemaFile, type SchemaStore, schemaStore } from "../gate/index.ts";
import { loadCasters, schemaFiles } from "../gate/node.ts";
import { checkViews, columnsOf, type View } from "../merge/engine.ts";
import { keepConfig, readConfig } from "./config.ts";
import { hubDir } from "./paths.ts";
import { EXTENSION, IS_PACKAGE, OWN_SUBJECTS, OWN_VIEWS, PROJECTIONS_DIR, SCHEMAS_DIR } from "./program.ts";
import { viewsIn } from "./projections.ts";
import { configFolder, givenBy } from "./settings.ts";
import { recordedFolders } from "./state.ts";

/** Folders by their absolute paths; `null`: no folder, so the hub's own forms or views only. */
export interface Folders {
  readonly schemas: string | null;
  readonly projections: string | null;
}

type Name = keyof Folders;
const NAMES: readonly Name[] = ["schemas", "projections"];
const VARIABLES = { schemas: "TRIBUTARY_SCHEMAS", projections: "TRIBUTARY_PROJECTIONS" } as const;
const SHIPPED: Readonly<Record<Name, string>> = { schemas: SCHEMAS_DIR, projections: PROJECTIONS_DIR };

const eachOf = <T>(of: (name: Name) => T): Record<Name, T> => ({ schemas: of("schemas"), projections: of("projections") });

/** For commands that take a folder by an option. */
export const FOLDER_OPTIONS = { schemas: { type: "string" }, projections: { type: "string" } } as const;

/** What an option, the environment or the configuration file names. */
const given = (name: Name): string | undefined => {
  const path = process.env[VARIABLES[name]];
  return path === undefined || path === "" ? undefined : resolve(path);
};

/** The folder where nobody named one: beside the configuration file; in a clone, its samples; else in the current folder. */
export function usualFolder(name: Name): string | null {
  const beside = configFolder();
  if (beside !== null && existsSync(join(beside, name))) return join(beside, name);
  if (!IS_PACKAGE) return SHIPPED[name];
  return existsSync(name) ? resolve(name) : null;
}

/** For commands that are not about a hub: those on a device, or a check before anything is deployed. */
export const foldersHere = (): Folders => eachOf((name) => given(name) ?? usualFolder(name));

/** The folder of forms for such a command. Throws `usage` where there is none. */
export function schemasHere(): string {
  const { schemas } = foldersHere();
  if (schemas !== null) return schemas;
  throw new TributaryError(
    "usage",
    "there is no folder of schemas here",
    "Name one with --schemas or TRIBUTARY_SCHEMAS, or run the command where schemas/ is.",
  );
}

const realPath = (path: string): string => (existsSync(path) ? realpathSync(path) : path);
const isSame = (a: string | null, b: string | null): boolean =>
  a === b || (a !== null && b !== null && realPath(a) === realPath(b));

/** The folders of a data directory's hub. Throws `usage` where others were given. */
export function foldersOf(data: string | undefined): Folders {
  const dir = hubDir(data);
  const recorded = recordedFolders(dir);
  return eachOf((name) => {
    const path = recorded?.[name];
    if (path === undefined) return given(name) ?? usualFolder(name);
    const other = given(name);
    const source = givenBy(VARIABLES[name]);
    // A configuration file in the folder where the command was run is about the hub that is started there.
    if (other === undefined || source === "file" || isSame(other, path)) return path;
    throw new TributaryError(
      "usage",
      `the hub in ${dir} works with ${path === null ? `no ${name} but its own` : `the ${name} in ${path}`}, and ${source === "option" ? `--${name}` : VARIABLES[name]} names ${other}`,
      `Leave it out to work with the hub's own folder. To change the hub's folders, start the hub again: \`tributary hub --data ${dir} --${name} ${other}\`; \`tributary rules try\` tells beforehand what would differ.`,
    );
  });
}

/** The folders that a hub starts with: the given ones, else those of its last start. They are kept for the next start. */
export function foldersToStart(dir: string, asked: Partial<Folders>, say: (line: string) => void): Folders {
  const kept = readConfig(dir).folders;
  const folders = eachOf((name) => {
    const named = asked[name] ?? given(name);
    const before = kept?.[name];
    const path = named ?? (before === undefined ? usualFolder(name) : before);
    if (path !== null && !existsSync(path))
      throw new TributaryError(
        "not-found",
        `the folder of the hub's ${name} is not there: ${path}`,
        `Put it back, or name the folder with --${name}, ${VARIABLES[name]} or in tributary.config.ts.`,
      );
    if (before !== undefined && !isSame(before, path))
      say(`The hub's ${name} were those in ${before ?? "the program"}. From now on they are those in ${path ?? "the program"}.`);
    return path;
  });
  // A clone's samples need not be kept: they stand beside the program.
  const isShipped = !IS_PACKAGE && NAMES.every((name) => folders[name] === SHIPPED[name]);
  if (kept !== undefined || !isShipped) keepConfig(dir, { folders });
  return folders;
}

/** The forms of a team's folder, with the hub's own. Throws `schema-malformed` where the folder has a different form under one of the hub's names. */
export function loadForms({ schemas }: Pick<Folders, "schemas">, options: { readonly trusted?: boolean } = {}): SchemaStore {
  const own = schemaFiles(SCHEMAS_DIR);
  const files = new Map([...own].filter(([subject]) => OWN_SUBJECTS.includes(subject)));
  if (schemas === null) return schemaStore(files, options);
  for (const [subject, theirs] of schemaFiles(schemas)) {
    const ours = files.get(subject);
    if (ours !== undefined && !areSame(ours, theirs))
      throw new TributaryError(
        "schema-malformed",
        `${join(schemas, subject)}: the hub has forms of its own under this name`,
        "Remove the folder; it may stay only as a copy of the hub's. Give your own form another name.",
      );
    files.set(subject, theirs);
  }
  return schemaStore(files, options);
}

type Versions = ReadonlyMap<number, SchemaFile>;
const areSame = (ours: Versions, theirs: Versions): boolean =>
  ours.size === theirs.size && [...ours].every(([version, { text }]) => theirs.get(version)?.text === text);

/** A team's casters; the hub's own forms have none. */
export const castersOf = async ({ schemas }: Pick<Folders, "schemas">): Promise<Casters> =>
  schemas === null ? NO_CASTERS : loadCasters(schemas);

/**
 * The views of a team's folder, with the hub's own. A team's view replaces the hub's view of the same name; it must have all columns of the hub's view, which commands read.
 * Throws `projection-malformed`, naming the file. `again`: as for `loadProjections`.
 */
export async function loadViews(
  { projections }: Pick<Folders, "projections">,
  { again = false }: { readonly again?: boolean } = {},
): Promise<View[]> {
  const theirs = projections === null ? [] : await viewsIn(projections, { again });
  const own = await viewsIn(PROJECTIONS_DIR, { only: OWN_VIEWS.map((name) => `${name}.${EXTENSION}`) });
  const added = own.filter((view) => {
    const instead = theirs.find(({ name }) => name === view.name);
    if (instead === undefined) return true;
    const columns = columnsOf(instead);
    const missing = [...(columnsOf(view) ?? [])].filter((column) => columns !== null && !columns.has(column));
    if (missing.length > 0)
      throw new TributaryError(
        "projection-malformed",
        `${projections}: the view ${view.name} replaces the hub's own, but has no column ${missing.join(", ")}`,
        "Give it all columns of the hub's view, or another name.",
      );
    return false;
  });
  const views = [...theirs, ...added];
  checkViews(views);
  return views;
}

/**
 * The views of a data directory's hub. Projections other than the hub's are refused; what is wrong in those projections themselves is told first, since it would be
 * wrong in the hub, too.
 */
export async function viewsOf(data: string | undefined): Promise<View[]> {
  let folders: Folders;
  try {
    folders = foldersOf(data);
  } catch (error) {
    const named = given("projections");
    if (named !== undefined && existsSync(named)) await loadViews({ projections: named });
    throw error;
  }
  return loadViews(folders);
}
