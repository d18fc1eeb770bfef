import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, it } from "vitest";
import { ERROR_CODES } from "../services/core/index.ts";

const ROOT = join(import.meta.dirname, "..");
const SERVICES = join(ROOT, "services");
const PACKAGES = join(ROOT, "packages");

/** Which folder may import which of ours. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  core: [],
  merge: ["core"],
  gate: ["core"],
  log: ["core"],
  "log/node": ["core"],
  http: ["core"],
  "exchange/protocol": ["core"],
  exchange: ["core", "merge", "gate", "views", "exchange/protocol"],
  field: ["core", "merge", "gate", "exchange/protocol"],
  ingress: ["core", "gate", "log", "http"],
  views: ["core", "merge"],
  projector: ["core", "merge", "gate", "log", "views"],
  api: ["core", "merge", "gate", "http", "views", "desk", "audit"],
  notify: ["core", "views"],
  client: [],
  desk: ["core", "merge", "gate", "field", "views"],
  audit: ["core", "merge", "gate", "log", "views", "projector"],
  // `local` asks each server through its own driver whether it answers; for the event store that is `log`.
  local: ["core", "log", "log/node"],
  cli: [
    "core",
    "exchange",
    "exchange/protocol",
    "merge",
    "gate",
    "log",
    "log/node",
    "http",
    "field",
    "ingress",
    "views",
    "projector",
    "notify",
    "audit",
    "desk",
    "api",
    "local",
  ],
  projections: ["merge"],
  packages: ["core", "merge", "gate", "cli"],
  "packages/field": ["core", "field", "packages"],
  "packages/hub": ["core", "merge", "gate", "cli"],
  "packages/client": ["client"],
};

/** One driver, one home. */
const HOMES: Record<string, readonly string[]> = {
  "@eventstore/db-client": ["log"],
  "@grpc/grpc-js": ["log/node"],
  pg: ["views", "local"],
  "pg-copy-streams": ["views"],
  "node:sqlite": ["field", "log/node", "audit"],
  // `cli` names the type of a connection that `local` and `ingress` make.
  nats: ["ingress", "field", "local", "cli"],
  avsc: ["gate"],
  "ajv/dist/2020.js": ["gate"],
  "ajv-formats": ["gate"],
  "@eslint-community/regexpp": ["gate"],
  re2js: ["gate"],
  "rate-limiter-flexible": ["http"],
  yjs: ["merge"],
  "ot-text-unicode": ["merge"],
  pino: ["cli"],
  "csv-parse": ["field"],
  jose: ["http"],
  fastify: ["http"],
  graphql: ["api"],
  "graphql-yoga": ["api"],
  "graphql-ws": ["api"],
  ws: ["api"],
  nodemailer: ["notify"],
};

/** Libraries for all: reading what comes from outside. */
const EVERYWHERE = new Set(["zod"]);

/** Doors beside each folder's index.ts: what needs Node, what only our own services use, a program of its own. */
const EDGES = new Set(["core/node.ts", "gate/node.ts", "merge/engine.ts", "merge/crdt/index.ts", "log/node/main.ts"]);

/** The command line has no index.ts: the packages take a hub's life, its settings and its folders from these files. */
const PACKAGED = new Set(["addresses", "folders", "program", "settings", "sites", "supervise"].map((name) => `cli/${name}.ts`));

interface Source {
  readonly file: string;
  readonly folder: string;
  readonly imports: readonly { readonly from: string; readonly isType: boolean }[];
}

/** Folders within a folder that are rooms of their own. */
const ROOMS_WITHIN = ["log/node", "exchange/protocol"];
const folderOf = (file: string): string => {
  if (file.startsWith(join(ROOT, "projections"))) return "projections";
  if (file.startsWith(PACKAGES)) return relative(ROOT, dirname(file));
  const path = relative(SERVICES, dirname(file));
  return ROOMS_WITHIN.find((room) => path === room || path.startsWith(`${room}/`)) ?? path.split("/")[0]!;
};

const sources: Source[] = [SERVICES, join(ROOT, "projections"), PACKAGES].flatMap((dir) =>
  readdirSync(dir, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts") && !name.includes("template/"))
    .map((name): Source => {
      const file = join(dir, name);
      const text = readFileSync(file, "utf8");
      const found = [
        ...[...text.matchAll(/^(?:import|export)\s+(type\s+)?[^;"]*?from\s+"([^"]+)"/gms)].map(([, type, from]) => ({
          from: from!,
          isType: type !== undefined,
        })),
        ...[...text.matchAll(/^import "([^"]+)"/gm)].map(([, from]) => ({ from: from!, isType: false })),
      ];
      return { file, folder: folderOf(file), imports: found };
    }),
);
const resolved = ({ file }: Source, from: string): string => join(dirname(file), from);

/** Files and libraries that are loaded with these files. */
function reachedFrom(files: readonly string[]): ReadonlySet<string> {
  const reached = new Set<string>();
  const reach = (file: string): void => {
    if (reached.has(file)) return;
    reached.add(file);
    const source = sources.find((each) => each.file === file);
    for (const { from, isType } of source?.imports ?? []) {
      if (isType) continue;
      if (from.startsWith(".")) reach(resolved(source!, from));
      else reached.add(from);
    }
  };
  for (const file of files) reach(file);
  return reached;
}

/** What a file lists in its export clauses. */
const namesOf = (file: string): string[] =>
  [...readFileSync(file, "utf8").matchAll(/^export (?:type )?\{([^}]*)\}/gm)].flatMap(([, list]) =>
    list!.split(",").filter((name) => name.trim() !== ""),
  );

describe("the house", () => {
  it("is found by this test", () => {
    expect(sources.length).toBeGreaterThan(60);
    expect(sources.flatMap(({ imports }) => imports).length).toBeGreaterThan(200);
  });

  it("keeps its rooms: no folder imports one it may not", () => {
    for (const source of sources) {
      for (const { from } of source.imports.filter(({ from }) => from.startsWith("."))) {
        const target = folderOf(resolved(source, from));
        if (target === source.folder) continue;
        expect(MAY_IMPORT[source.folder], `${relative(ROOT, source.file)} imports ${target}`).toContain(target);
      }
    }
  });

  it("enters other folders by their edge: index.ts, or one of the few others", () => {
    for (const source of sources) {
      for (const { from } of source.imports.filter(({ from }) => from.startsWith("."))) {
        const target = resolved(source, from);
        if (folderOf(target) === source.folder || folderOf(target) === "packages") continue;
        if (source.folder.startsWith("packages") && PACKAGED.has(relative(SERVICES, target))) continue;
        expect(
          EDGES.has(relative(SERVICES, target)) || /^[a-z]+(\/node|\/protocol)?\/index\.ts$/.test(relative(SERVICES, target)),
          `${relative(ROOT, source.file)} imports ${relative(ROOT, target)}`,
        ).toBe(true);
        if (source.folder === "projections")
          expect(["merge/index.ts", "merge/crdt/index.ts"]).toContain(relative(SERVICES, target));
      }
    }
  });

  it("names at each edge what others may use", () => {
    for (const { file } of sources) {
      const isEdge = file.endsWith("/index.ts") || EDGES.has(relative(SERVICES, file));
      if (isEdge) expect(readFileSync(file, "utf8"), relative(ROOT, file)).not.toMatch(/^export (type )?\*/m);
    }
    // What an app or a projection has to know of merging: the language, and no more. ARCHITECTURE.md says which names these are.
    expect(namesOf(join(SERVICES, "merge/index.ts")).length).toBeLessThanOrEqual(31);
    expect(namesOf(join(SERVICES, "merge/crdt/index.ts")).length).toBeLessThanOrEqual(13);
  });

  it("keeps what a browser runs free of Node", () => {
    for (const start of ["core/index.ts", "merge/index.ts", "merge/engine.ts", "gate/index.ts"]) {
      const reached = reachedFrom([join(SERVICES, start)]);
      expect(reached.size, start).toBeGreaterThan(8);
      expect(
        [...reached].filter((each) => each.startsWith("node:")),
        start,
      ).toEqual([]);
    }
    // The client runs in a browser with nothing of others': no folder of ours, and no library.
    const client = [...reachedFrom([join(PACKAGES, "client/index.ts")])].map((each) => relative(ROOT, each));
    expect(client.length).toBeGreaterThan(5);
    expect(client.filter((each) => !/^(services|packages)\/client\//.test(each))).toEqual([]);
    expect([...reachedFrom([join(SERVICES, "gate/node.ts")])].some((each) => each.startsWith("node:"))).toBe(true);
  });

  it("has one home for each driver, and a home for each library; types count too", () => {
    for (const { file, folder, imports } of sources) {
      for (const { from } of imports) {
        if (from.startsWith(".") || from.startsWith("node:") || EVERYWHERE.has(from)) {
          if (HOMES[from] === undefined) continue;
        }
        expect(HOMES[from] ?? [], `${relative(ROOT, file)} imports ${from}`).toContain(folder);
      }
      // Loaded when it is needed, a driver has the same home.
      for (const [, from = ""] of readFileSync(file, "utf8").matchAll(/\bimport\("([^"]+)"\)/g))
        if (HOMES[from] !== undefined) expect(HOMES[from], `${relative(ROOT, file)} loads ${from}`).toContain(folder);
    }
  });

  it("names tables of the database in views alone", () => {
    const named = /["'`\s(]((?:tributary|views)\.(?:"|\$\{|[a-z_]+))/g;
    const isText = /["'`]/;
    const tables = new Set(
      [...readFileSync(join(SERVICES, "views/schema.sql"), "utf8").matchAll(/^(?:TABLE|VIEW) (tributary\.[a-z_]+)/gm)].map(
        ([, table = ""]) => table,
      ),
    );
    expect(tables.size).toBeGreaterThan(15);
    for (const { file, folder } of sources.filter(({ folder }) => folder !== "views")) {
      if (folder === "projections" || folder === "merge") continue;
      for (const line of readFileSync(file, "utf8").split("\n")) {
        if (/^\s*(\*|\/\/|\/\*)/.test(line) || !isText.test(line)) continue;
        for (const [, name = ""] of line.matchAll(named))
          expect(tables.has(name) || /^views\.["$]/.test(name), `${relative(ROOT, file)}: ${line.trim()}`).toBe(false);
      }
    }
  });

  it("has a device load no driver of a server: its commands start sooner, and so does an app", () => {
    const reached = reachedFrom(["cli/main.ts", "cli/commands-field.ts", "field/index.ts"].map((start) => join(SERVICES, start)));
    expect(reached.size).toBeGreaterThan(100);
    for (const driver of ["@eventstore/db-client", "@grpc/grpc-js", "pg", "nats", "jose", "fastify", "pino", "nodemailer"])
      expect(reached, driver).not.toContain(driver);
  });

  it("keeps the device's SQL in one place", () => {
    const field = sources.filter(({ folder }) => folder === "field");
    const speaking = field.filter(({ file }) => /\.prepare\(|\bdb\.exec\(|\bSELECT\b.*\bFROM\b/.test(readFileSync(file, "utf8")));
    expect(speaking.map(({ file }) => relative(SERVICES, file)).sort()).toEqual([
      "field/migrations.ts",
      ...["ask", "event-rows", "prepared", "query", "rows", "view-rows"].map((name) => `field/replica/${name}.ts`),
      "field/rows.ts",
    ]);
  });

  it("has no cycle among its files", () => {
    const graph = new Map(
      sources.map((source) => [
        source.file,
        source.imports.filter(({ from }) => from.startsWith(".")).map(({ from }) => resolved(source, from)),
      ]),
    );
    const done = new Set<string>();
    const visit = (file: string, path: readonly string[]): void => {
      expect(path, `cycle: ${[...path, file].map((f) => relative(ROOT, f)).join(" → ")}`).not.toContain(file);
      if (done.has(file)) return;
      for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
      done.add(file);
    };
    for (const file of graph.keys()) visit(file, []);
  });

  it("imports only files that exist", () => {
    for (const source of sources)
      for (const { from } of source.imports.filter(({ from }) => from.startsWith(".")))
        expect(existsSync(resolved(source, from)), `${source.file}: ${from}`).toBe(true);
  });
});

it("docs/errors.md lists every error code, and no other", () => {
  const listed = [...readFileSync(join(ROOT, "docs/errors.md"), "utf8").matchAll(/^\| `([a-z-]+)` \|/gm)].map(
    ([, code]) => code!,
  );
  expect([...listed].sort()).toEqual([...ERROR_CODES].sort());
});

describe("ARCHITECTURE.md", () => {
  it("has the same table of imports as this test", () => {
    const text = readFileSync(join(ROOT, "ARCHITECTURE.md"), "utf8");
    const table = /<!-- imports:[\s\S]*?<!-- \/imports -->/.exec(text)?.[0] ?? "";
    const written = [...table.matchAll(/^\| `([a-z/]+)` \| (.*) \|$/gm)].map(([, folder, may]) => [
      folder,
      [...(may ?? "").matchAll(/`([a-z/]+)`/g)].map(([, name]) => name),
    ]);
    expect(Object.fromEntries(written)).toEqual(MAY_IMPORT);
  });

  it("describes every folder of services", () => {
    const rooms = /## The rooms([\s\S]*?)<!-- imports/.exec(readFileSync(join(ROOT, "ARCHITECTURE.md"), "utf8"))?.[1] ?? "";
    const written = [...rooms.matchAll(/^\| `services\/([a-z]+)` \|/gm)].map(([, folder]) => folder);
    const folders = readdirSync(SERVICES, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    expect(folders.length).toBeGreaterThan(10);
    for (const { name } of folders) expect(written).toContain(name);
  });
});

it("packages/projections.ts gives installed projects what the repository's own projections import", () => {
  const namesIn = (file: string): string[] =>
    [...readFileSync(join(ROOT, file), "utf8").matchAll(/^export (?:type )?\{([^}]*)\}/gms)]
      .flatMap(([, names]) => names!.split(","))
      .map((name) => name.trim().replace(/^type /, ""))
      .filter((name) => name !== "")
      .sort();
  const own = [...namesIn("services/merge/index.ts"), ...namesIn("services/merge/crdt/index.ts")];
  expect(own.length).toBeGreaterThan(30);
  // For a team's own tests and helpers; no file of projections/ needs them.
  const beside = ["Column", "Columns", "CustomRule", "Declaration", "Projection", "Resolver", "View", "fitsViews"];
  expect(namesIn("packages/projections.ts")).toEqual([...own, ...beside].sort());
});
