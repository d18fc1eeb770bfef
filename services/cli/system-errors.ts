/**
 * What the machine and its servers refuse, in words. Whatever was thrown goes in; an operating failure with what to do about it comes out, or `null`: a bug, which keeps
 * its stack.
 */
import { messageOf, TributaryError } from "../core/index.ts";

/** What the system says of a path, by its code: what happened, and what to do. */
const PATHS: Readonly<Record<string, readonly [what: (path: string) => string, todo: string]>> = {
  EACCES: [
    (path) => `the system does not let this user work with ${path}`,
    "Name another path, or give this user the rights to it.",
  ],
  EPERM: [
    (path) => `the system does not let this user work with ${path}`,
    "Name another path, or give this user the rights to it.",
  ],
  EROFS: [(path) => `${path} is on a disk that cannot be written to`, "Name a path on another disk."],
  ENOENT: [
    (path) => `${path} is not there`,
    "Check the name, and make the folder first where one is missing; some folders take no files.",
  ],
  ENOTDIR: [
    (path) => `${path} is not a folder, or lies below a file`,
    "Name a folder; if a file has that name, choose another name.",
  ],
  EEXIST: [(path) => `${path} is a file, and a folder is needed there`, "Name a folder, or one that is not there yet."],
  EISDIR: [(path) => `${path} is a folder, and a file is needed`, "Name a file."],
  ENAMETOOLONG: [(path) => `the name is too long: ${path.slice(0, 80)}…`, "Name a shorter path."],
  ELOOP: [(path) => `${path} is a link that leads to itself`, "Name the file or folder that it should lead to."],
  EMFILE: [(path) => `too many files are open; the next was ${path}`, "Raise the limit (`ulimit -n`), and try again."],
  ENFILE: [(path) => `too many files are open; the next was ${path}`, "End some programs, and try again."],
  EINVAL: [(path) => `the file system of ${path} cannot do what is needed`, "Name a path on a disk of this machine."],
  ENOSYS: [(path) => `the file system of ${path} cannot do what is needed`, "Name a path on a disk of this machine."],
  ENOTSUP: [(path) => `the file system of ${path} cannot do what is needed`, "Name a path on a disk of this machine."],
  EOPNOTSUPP: [(path) => `the file system of ${path} cannot do what is needed`, "Name a path on a disk of this machine."],
  ENXIO: [(path) => `${path} is not a file`, "Name a file on a disk."],
  EIO: [(path) => `the disk of ${path} reports an error`, "Check the disk, and copy what it holds to another one."],
  ESTALE: [(path) => `the network drive of ${path} has gone away`, "Connect it again, and try again."],
  ENOTEMPTY: [(path) => `${path} is a folder that is not empty`, "Name another, or empty it."],
  EXDEV: [(path) => `${path} lies on two disks`, "Name a path that lies on one disk."],
  EBUSY: [(path) => `another program uses ${path}`, "Wait until it has finished, or stop it."],
};

/** Classes of PostgreSQL's codes, and single codes, that say something of the server and not of our statement. */
const SERVER_AWAY = /^(?:08|57P)/;
const SERVER_FULL = /^53/;
const SERVER_REFUSES = /^(?:28|3D000|42501|25006|58)/;
const LINK = ["ECONNREFUSED", "ECONNRESET", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "ENOTFOUND", "EAI_AGAIN"];

const OPEN_FILE_CALLS = ["fsync", "fdatasync", "read", "write", "ftruncate", "fchmod", "fstat", "close"];

/** The operating failure that something thrown stands for; `null`: it is not a known one, so it is a bug. */
export function operatingFailure(error: unknown): TributaryError | null {
  if (!(error instanceof Error)) return null;
  const { code, path, syscall, severity }: Readonly<Record<string, unknown>> = { ...error };
  if (typeof code !== "string") return /^Connection terminated/.test(error.message) ? serverAway(error) : null;
  if (severity !== undefined) return ofPostgres(code, error);
  if (LINK.includes(code) && path === undefined) return serverAway(error);
  if (typeof syscall !== "string") return null;
  // A call on a file that is already open names no path.
  const where = typeof path === "string" ? path : OPEN_FILE_CALLS.includes(syscall) ? "a file of this command" : null;
  const words = where === null ? null : systemWords(error, where);
  return words === null ? null : new TributaryError("path-unusable", ...words, { cause: error });
}

/** What the system says of a path, and what to do about it; `null`: something else. */
export function systemWords(error: unknown, path: string): readonly [message: string, hint: string] | null {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return null;
  const found = Object.hasOwn(PATHS, error.code) ? PATHS[error.code] : undefined;
  return found === undefined ? null : [found[0](path), found[1]];
}

const serverAway = (error: Error): TributaryError =>
  new TributaryError(
    "backend-unreachable",
    `the link to a server was lost: ${messageOf(error)}`,
    "See that the hub is running, and try again.",
    { cause: error },
  );

function ofPostgres(code: string, error: Error): TributaryError | null {
  if (SERVER_AWAY.test(code)) return serverAway(error);
  if (SERVER_FULL.test(code))
    return new TributaryError(
      "backend-failed",
      `PostgreSQL has no room, or too many connections: ${messageOf(error)}`,
      "Make room, or end some of its connections, and try again.",
      { cause: error },
    );
  if (SERVER_REFUSES.test(code))
    return new TributaryError(
      "backend-failed",
      `PostgreSQL refuses: ${messageOf(error)}`,
      "Check TRIBUTARY_POSTGRES_URL, and what its user may do; docs/production.md says what the hub needs.",
      { cause: error },
    );
  return null;
}
