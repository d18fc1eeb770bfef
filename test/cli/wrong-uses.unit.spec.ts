import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { operatingFailure } from "../../services/cli/system-errors.ts";
import { listenFailure, TributaryError } from "../../services/core/index.ts";
import { type Ended, runHere } from "../support/here.ts";
import { newDir } from "../support/home.ts";

const dir = newDir("wrong");
const at = (name: string): string => join(dir, name);
const file = at("a-file");
const folder = at("a-folder");
const db = ["--db", at("juba.db")];

beforeAll(async () => {
  // Where the commands of this test look. Other files run in this process too, so the variable is restored at the end.
  vi.stubEnv("TRIBUTARY_DATA", at("hub"));
  vi.stubEnv("TRIBUTARY_FIELD", at("field.db"));
  mkdirSync(folder);
  writeFileSync(file, "Some text of somebody.\n");
  chmodSync(folder, 0o755);
  chmodSync(file, 0o644);
  expect((await runHere("field", "init", "--org", "relief", "--site", "juba", "--device", "t1", ...db)).code).toBe(0);
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(dir, { recursive: true, force: true });
});

/** A sentence that says what happened, a hint that says what to do, no stack, no words of Node's, and nothing on stdout. */
function expectPlain({ stdout, stderr }: Ended): void {
  expect(stdout).toBe("");
  const told = stderr.slice(stderr.indexOf("tributary: "));
  const [message = "", hint = ""] = told.split("\n");
  expect(message.length, told).toBeGreaterThan("tributary: ".length + 8);
  expect(hint.length, told).toBeGreaterThan(8);
  expect(told).not.toMatch(/\n\s+at |node:internal|\bE[A-Z]{4,}:|syscall|undefined|\[object|NaN/);
}

/** A folder in which the system makes none. */
const IN_PROC: readonly [args: readonly string[], code: number, says: RegExp][] = !existsSync("/proc/self")
  ? []
  : [
      [["hub", "--data", "/proc/self/nothing-here"], 8, /the system makes no folders in \/proc\/self\nName a place on a disk/],
      [
        ["field", "init", "--org", "relief", "--site", "juba", "--device", "t", "--db", "/proc/self/nothing-here/x.db"],
        8,
        /makes no folders/,
      ],
      [["init", "/proc/self/nothing-here"], 2, /makes no folders/],
    ];

/** Wrong uses without a hub: arguments, exit code, what is said. */
const USES: readonly [args: readonly string[], code: number, says: RegExp][] = [
  [["frobnicate"], 2, /no command frobnicate\n`tributary --help`/],
  [["sites"], 2, /Did you mean/],
  [["view", "beneficiaries", "--filter", "a=1"], 2, /no option --filter\nDid you mean --where\?/],
  [["view", "beneficiaries", "--order-by", "id"], 2, /Did you mean --sort\?/],
  [["field", "view", "beneficiaries", "--sort", "id"], 2, /no option --sort\nDid you mean --order\?/],
  [["view", "beneficiaries", "--select", "id"], 2, /Did you mean --columns\?/],
  [["view", "beneficiaries", "--limit", "0"], 2, /--limit "0" is not a whole number from 1 to 1000000000\nWrite it in digits/],
  [["view", "beneficiaries", "--limit", "-5"], 2, /--limit "-5" is not a whole number/],
  [["view", "beneficiaries", "--limit", "1e9"], 2, /--limit "1e9" is not a whole number/],
  [["view", "beneficiaries", "--limit", "2.5"], 2, /--limit "2.5" is not a whole number/],
  [["view", "beneficiaries", "--limit", "99999999999999999999"], 2, /is not a whole number/],
  [["view", "beneficiaries", "--limit"], 2, /--limit needs a value/],
  [["view", "beneficiaries", "--csv=yes"], 2, /--csv takes no value/],
  [["view", "--where", "a=1"], 2, /--where is about a view's rows, and no view is named/],
  [["view", "--csv"], 2, /--csv is about a view's rows/],
  [["view", "a", "b"], 2, /b is one argument too many/],
  [["view", "beneficiaries"], 4, /there is no hub in .*hub\nStart one with `tributary hub`/],
  [["view", "beneficiaries", "--data", file], 4, /there is no hub in/],
  [["lag", "--data", folder], 4, /there is no hub in/],
  [["lag", "extra"], 2, /extra is one argument too many/],
  [["audit", "entity"], 2, /the entity is missing/],
  [["audit", "entity", "beneficiary"], 2, /the entity's id is missing: beneficiary is a type\nWrite TYPE\/ID/],
  [["audit", "entity", "beneficiary/"], 2, /"beneficiary\/" is not an entity/],
  [["audit", "entity", "beneficiary", "NBO-1", "x"], 2, /x is one argument too many/],
  [["audit", "entity", "beneficiary/NBO-1", "x"], 2, /x is one argument too many/],
  [["audit", "entity", "beneficiary/NBO-1", "--view", "x"], 2, /--view goes with --as-of/],
  [["explain", "beneficiary"], 2, /the entity's id is missing/],
  [["explain", "beneficiary/NBO-1", "phone", "x"], 2, /x is one argument too many/],
  [["case", "show"], 2, /the case is missing/],
  [["case", "show", "beneficiary/NBO-1"], 2, /the register is missing/],
  [["case", "list", "--state", "weird"], 2, /there is no state weird\nThe states are open/],
  [["case", "resolve", "abc"], 2, /give either --pick or --value/],
  [["case", "accept", "abc"], 2, /--note is missing: say why/],
  [["case", "comment", "abc", ""], 2, /the text is missing/],
  [["case", "assign", "abc"], 2, /the person is missing/],
  [["quarantine", "rates", "--days", "99999999"], 2, /--days "99999999" is not a whole number from 1 to 3650/],
  [["quarantine", "list", "--state", "weird"], 2, /there is no state weird/],
  [["schema", "token", "--days", "99999999"], 2, /--days "99999999" is not a whole number/],
  [["schema", "level", "beneficiary", "SIDEWAYS"], 2, /SIDEWAYS is not one of/],
  [["schema", "diff", "beneficiary@1"], 2, /two versions are needed/],
  [["schema", "check", at("none")], 3, /none: there is no such folder/],
  [["schema", "check", "--sarif", at("none/x")], 2, /none\/x is not there\nCheck the name/],
  [["schema", "check", "--level", "SIDEWAYS"], 2, /--level SIDEWAYS is not one of/],
  [["site", "add"], 2, /the site's name is missing/],
  [["notify", "test"], 2, /the target is missing/],
  [["dead", "show", "x"], 2, /"x" is not a letter's number/],
  [["rules", "try"], 2, /the file is missing/],
  [["rules", "try", at("none.ts")], 3, /there is no file/],
  [["rules", "try", folder], 3, /is a folder\nName one of its files/],
  [["backup"], 2, /the folder for the backup is missing/],
  [["restore"], 2, /name a backup, or give one of --declare and --confirm/],
  [["config", "check", "--config", at("none")], 2, /there is no configuration file/],
  [["init", file], 8, /a-file is not a folder, or lies below a file\nName a folder/],
  [["completion", "fishh"], 2, /Did you mean fish\?/],
  [["hub", "--port", "80"], 2, /no option --port\nDid you mean --listen\?/],
  [["hub", "--listen", "80"], 2, /"80" is not an address to listen on\nWrite it as host:port/],
  [["hub", "--listen", "127.0.0.1:99999"], 2, /is not an address to listen on/],
  [["hub", "--data", file], 8, /a-file is a file, and a folder is needed there/],
  [["hub", "--data", join(file, "x")], 8, /x is not a folder, or lies below a file/],
  ...IN_PROC,
  [["hub", "--projectors", "0"], 2, /--projectors "0" is not a whole number from 1 to 64/],
  [["hub", "--projectors", "1000"], 2, /--projectors "1000" is not a whole number from 1 to 64/],
  [["hub", "--nats-port", "70000"], 2, /--nats-port "70000" is not a whole number from 1 to 65535/],
  [["hub", "--reconcile-every", "0"], 2, /--reconcile-every "0" is not a whole number from 1 to 8760/],
  [["hub", "--public-url", "hub.example.org"], 2, /is not an address that devices sync with/],
  [["field", "init", ...db.slice(0, 1), at("new.db")], 2, /--org is missing/],
  [
    ["field", "init", "--org", "Relief Org", "--site", "juba", "--device", "t", "--db", at("new.db")],
    3,
    /"Relief Org" is not a name/,
  ],
  [["field", "init", "--org", "relief", "--site", "juba", "--device", "t2", ...db], 2, /belongs to relief\.juba\.t1, not to/],
  [["field", "init", "--org", "relief", "--site", "juba", "--device", "t", "--db", file], 8, /is not a field database/],
  [
    ["field", "init", "--org", "relief", "--site", "juba", "--device", "t", "--db", folder],
    8,
    /is not a file, as a field database must be/,
  ],
  [["field", "init", "--org", "relief", "--site", "juba", "--device", "t", "--db", join(file, "x.db")], 8, /a-file/],
  [["field", "status", "--db", at("none.db")], 4, /there is no field database at/],
  [["field", "append", ...db], 2, /an event needs a type, an entity/],
  [["field", "append", "beneficiary.registered", "beneficiary", "{}", ...db], 2, /"beneficiary" is not an entity|an event needs/],
  [["field", "append", "beneficiary.registered", "beneficiary/NBO-000001", "{", ...db], 3, /./],
  [["field", "append", "beneficiary.registered", "beneficiary/NBO-000001", "[]", ...db], 3, /./],
  [["field", "append", "beneficiary.registered", "beneficiary/NBO-000001", "{}", ...db], 3, /registration_no/],
  [["field", "append", "beneficiary.registred", "beneficiary/NBO-000001", "{}", ...db], 3, /beneficiary\.registred/],
  [["field", "append", "beneficiary.registered", "beneficiary/NBO-000001", `@${at("none")}`, ...db], 3, /none is not there/],
  [["field", "import", ...db], 2, /no file is named/],
  [["field", "import", at("none.csv"), ...db], 3, /none\.csv/],
  [["field", "import", folder, ...db], 3, /a-folder/],
  [["field", "sync", ...db], 2, /--hub is missing/],
  [["field", "sync", "--hub", "ftp://hub", "--token", "t", ...db], 2, /is not a hub's address\nWrite it like/],
  [["field", "sync", "--hub", "localhost:8080", "--token", "t", ...db], 2, /is not a hub's address/],
  [["field", "sync", "--hub", "http://127.0.0.1:19999", "--token", "t", ...db], 7, /nothing listens at/],
  [["field", "sync", "--hub", "http://127.0.0.1:1", "--token", "t", ...db], 2, /it is kept for another kind of server/],
  [["field", "sync", "--hub", "http://me:secret@hub", "--token", "t", ...db], 2, /has a user or a password in it/],
  [["field", "sync", "--hub", "http://127.0.0.1:19999", ...db], 5, /there is no token/],
  [["field", "sync", "--hub", "http://127.0.0.1:19999", "--token", `@${at("none")}`, ...db], 3, /none is not there/],
  [
    ["field", "sync", "--hub", "http://127.0.0.1:19999", "--token", "t", "--batch", "0", ...db],
    2,
    /--batch "0" is not a whole number/,
  ],
  [
    ["field", "sync", "--hub", "http://127.0.0.1:19999", "--token", "t", "--tries", "x", ...db],
    2,
    /--tries "x" is not a whole number/,
  ],
  [["field", "enrol", "--hub", "http://127.0.0.1:19999", ...db], 2, /--code is missing/],
  [["field", "log", "--entity", "x", ...db], 2, /"x" is not an entity/],
  [["field", "log", "--since", "-1", ...db], 2, /--since "-1" is not a whole number/],
  [["field", "log", "--limit", "0", ...db], 2, /--limit "0" is not a whole number/],
  [["field", "salvage", "--out", file, ...db], 2, /exists already\nName a new file/],
  [["field", "salvage", "--out", at("none/x"), ...db], 8, /none\/x is not there/],
  [["field", "salvage", "--out", at("x.ndjson"), "--db", at("none.db")], 4, /there is no file at/],
];

it("there are ninety of them", () => {
  expect(USES.length).toBeGreaterThanOrEqual(90);
});

it.each(USES)("a wrong use says what happened and what to do: %j ends with %i", async (args, code, says) => {
  const before = readdirSync(dir).sort();
  const ended = await runHere(...args);
  expect(`${ended.code} ${ended.stderr}`).toMatch(new RegExp(`^${code} `));
  expect(ended.stderr).toMatch(says);
  expectPlain(ended);
  expect(
    readdirSync(dir)
      .sort()
      .filter((name) => !name.startsWith("juba.db")),
  ).toEqual(before.filter((name) => !name.startsWith("juba.db")));
});

it("a file and a folder that were named in place of a database keep their content and their rights", () => {
  expect(readFileSync(file, "utf8")).toBe("Some text of somebody.\n");
  expect(statSync(file).mode & 0o777).toBe(0o644);
  expect(statSync(folder).mode & 0o777).toBe(0o755);
});

const system = (code: string, more: object = { path: "/data/hub", syscall: "open" }): Error & { readonly code: string } =>
  Object.assign(new Error(`${code}: words of the system`), { code, ...more });

it.each([
  ["EACCES", "path-unusable", "does not let this user work with /data/hub"],
  ["EPERM", "path-unusable", "does not let this user work with /data/hub"],
  ["EROFS", "path-unusable", "/data/hub is on a disk that cannot be written to"],
  ["ENOTDIR", "path-unusable", "/data/hub is not a folder"],
  ["EMFILE", "path-unusable", "too many files are open"],
])("what the system says of a folder is told in words: %s", (code, told, words) => {
  const failure = operatingFailure(system(code));
  expect(failure).toMatchObject({ code: told, exitCode: 8 });
  expect(failure?.message).toContain(words);
});

it("what a server refuses is reported in words, and a bug stays one", () => {
  expect(operatingFailure(system("57P01", { severity: "FATAL" }))).toMatchObject({ code: "backend-unreachable" });
  expect(operatingFailure(system("53300", { severity: "FATAL" }))).toMatchObject({ code: "backend-failed" });
  expect(operatingFailure(system("ECONNRESET", { syscall: "read" }))).toMatchObject({ code: "backend-unreachable" });
  expect(operatingFailure(system("42601", { severity: "ERROR" }))).toBeNull();
  expect(operatingFailure(new TypeError("x is not a function"))).toBeNull();
});

it.each([
  ["EADDRINUSE", "port-in-use", "is in use"],
  ["EACCES", "port-refused", "does not let this user listen on port 80"],
  ["EADDRNOTAVAIL", "port-refused", "is not an address of this machine"],
])("a port that cannot be had: %s", (code, told, words) => {
  const failure = listenFailure(system(code), { host: "127.0.0.1", port: 80, title: "the HTTP door", option: "--listen" });
  expect(failure).toBeInstanceOf(TributaryError);
  expect(failure).toMatchObject({
    code: told,
    message: expect.stringContaining(words),
    hint: expect.stringContaining("--listen"),
  });
});
