/**
 * `tributary …`: where the parts are wired together. Arguments go in; words for people come out, or with --json one document. Every
 * error says what to do about it and has an exit code.
 */
import { TributaryError } from "../core/index.ts";
import { type Command, inputOf } from "./args.ts";
import { nearestCommand } from "./nearest.ts";
import { reportFailure, table } from "./output.ts";
import { withSettings } from "./settings.ts";

/** Each is loaded when it is used: a field command must not load gRPC, and `--help` must not load a database driver. */
export const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  demo: async () => (await import("./demo.ts")).demo,
  init: async () => (await import("./commands-init.ts")).init,
  "config check": async () => (await import("./commands-config.ts")).configCheck,
  hub: async () => (await import("./commands-hub.ts")).hub,
  node: async () => (await import("./command-node.ts")).node,
  backup: async () => (await import("./commands-backup.ts")).backup,
  restore: async () => (await import("./commands-backup.ts")).restore,
  "site add": async () => (await import("./commands-site.ts")).siteAdd,
  "site revoke": async () => (await import("./commands-keys.ts")).siteRevoke,
  "site roles": async () => (await import("./commands-site.ts")).siteRoles,
  "site list": async () => (await import("./commands-site.ts")).siteList,
  "device list": async () => (await import("./commands-keys.ts")).deviceList,
  "device revoke": async () => (await import("./commands-keys.ts")).deviceRevoke,
  "token issue": async () => (await import("./commands-people.ts")).tokenIssue,
  "token revoke": async () => (await import("./commands-keys.ts")).tokenRevoke,
  "role list": async () => (await import("./commands-people.ts")).roleList,
  "key list": async () => (await import("./commands-keys.ts")).keyList,
  "key rotate": async () => (await import("./commands-keys.ts")).keyRotate,
  "key retire": async () => (await import("./commands-keys.ts")).keyRetire,
  "field init": async () => (await import("./commands-field.ts")).fieldInit,
  "field append": async () => (await import("./commands-field.ts")).fieldAppend,
  "field import": async () => (await import("./commands-import.ts")).fieldImport,
  "field sync": async () => (await import("./commands-field.ts")).fieldSync,
  "field enrol": async () => (await import("./commands-field.ts")).fieldEnrol,
  "field rotate-key": async () => (await import("./commands-field.ts")).fieldRotateKey,
  "field salvage": async () => (await import("./commands-field.ts")).fieldSalvage,
  "field pull": async () => (await import("./commands-field-replica.ts")).fieldPull,
  "field view": async () => (await import("./commands-field-replica.ts")).fieldView,
  "field explain": async () => (await import("./commands-field-replica.ts")).fieldExplain,
  "field conflicts": async () => (await import("./commands-field-replica.ts")).fieldConflicts,
  "field log": async () => (await import("./commands-field-log.ts")).fieldLog,
  "field status": async () => (await import("./commands-field.ts")).fieldStatus,
  view: async () => (await import("./commands-view.ts")).view,
  "policy list": async () => (await import("./commands-policy.ts")).policyList,
  "policy show": async () => (await import("./commands-policy.ts")).policyShow,
  "policy set": async () => (await import("./commands-policy.ts")).policySet,
  "policy remove": async () => (await import("./commands-policy.ts")).policyRemove,
  "policy preview": async () => (await import("./commands-policy.ts")).policyPreview,
  "replica list": async () => (await import("./commands-replica.ts")).replicaList,
  "audit entity": async () => (await import("./commands-audit.ts")).auditEntity,
  "audit event": async () => (await import("./commands-audit.ts")).auditEvent,
  "audit verify": async () => (await import("./commands-audit.ts")).auditVerify,
  "quarantine list": async () => (await import("./commands-quarantine.ts")).quarantineList,
  "quarantine show": async () => (await import("./commands-quarantine.ts")).quarantineShow,
  "quarantine release": async () => (await import("./commands-quarantine.ts")).quarantineRelease,
  "quarantine reject": async () => (await import("./commands-quarantine.ts")).quarantineReject,
  "quarantine rates": async () => (await import("./commands-quarantine.ts")).quarantineRates,
  "schema list": async () => (await import("./commands-schema.ts")).schemaList,
  "schema show": async () => (await import("./commands-schema.ts")).schemaShow,
  "schema register": async () => (await import("./commands-schema.ts")).schemaRegister,
  "schema check": async () => (await import("./commands-schema-check.ts")).schemaCheck,
  "schema diff": async () => (await import("./commands-schema-check.ts")).schemaDiff,
  "schema lint": async () => (await import("./commands-schema-check.ts")).schemaLint,
  "schema level": async () => (await import("./commands-schema.ts")).schemaLevel,
  "schema mode": async () => (await import("./commands-schema.ts")).schemaMode,
  "schema proposals": async () => (await import("./commands-schema.ts")).schemaProposals,
  "schema token": async () => (await import("./commands-schema.ts")).schemaToken,
  explain: async () => (await import("./commands-explain.ts")).explainCommand,
  "rules try": async () => (await import("./commands-explain.ts")).rulesTry,
  "case list": async () => (await import("./commands-case.ts")).caseList,
  "case show": async () => (await import("./commands-case.ts")).caseShow,
  "case assign": async () => (await import("./commands-case.ts")).caseAssign,
  "case comment": async () => (await import("./commands-case.ts")).caseComment,
  "case resolve": async () => (await import("./commands-case.ts")).caseResolve,
  "case accept": async () => (await import("./commands-case.ts")).caseAccept,
  rebuild: async () => (await import("./commands-rebuild.ts")).rebuildCommand,
  reconcile: async () => (await import("./commands-rebuild.ts")).reconcileCommand,
  lag: async () => (await import("./commands-rebuild.ts")).lag,
  "parked list": async () => (await import("./commands-parked.ts")).parkedList,
  "parked show": async () => (await import("./commands-parked.ts")).parkedShow,
  "parked retry": async () => (await import("./commands-parked.ts")).parkedRetry,
  "dead list": async () => (await import("./commands-dead.ts")).deadList,
  "dead show": async () => (await import("./commands-dead.ts")).deadShow,
  "dead retry": async () => (await import("./commands-dead.ts")).deadRetry,
  "notify list": async () => (await import("./commands-notify.ts")).notifyList,
  "notify retry": async () => (await import("./commands-notify.ts")).notifyRetry,
  "notify test": async () => (await import("./commands-notify.ts")).notifyTest,
  ingress: async () => (await import("./worker-ingress.ts")).ingress,
  projector: async () => (await import("./worker-projector.ts")).projector,
  reconciler: async () => (await import("./worker-reconcile.ts")).reconciler,
  notifier: async () => (await import("./worker-notify.ts")).notifier,
  types: async () => (await import("./commands-types.ts")).types,
  completion: async () => (await import("./commands-completion.ts")).completion,
};

const EXIT_CODES = `Exit codes:  0 done   1 a bug   2 wrong usage   3 input that does not fit   4 not found   5 token refused
             6 the log's discipline (gap, broken chain, fork)   7 a server is away   8 disk, lock or port
             9 a change of forms would break a site (schema check)`;

async function overview(prefix = ""): Promise<string> {
  const commands = await Promise.all(
    Object.entries(COMMANDS)
      .filter(([name]) => name.startsWith(prefix))
      .map(([, load]) => load()),
  );
  const rows = commands.map(({ name, summary }) => [`tributary ${name}`, summary]);
  const head = prefix === "" ? "Tributary: an append-only sync backbone for teams that work offline.\n\n" : "";
  return `${head}${table(["command", "what it does"], rows)}\n\n\`tributary COMMAND --help\` explains a command; every command takes --json and --config FILE.\n\n${EXIT_CODES}`;
}

const isHelp = (word: string): boolean => word === "--help" || word === "-h";

/** What to do about words that name no command: the command that was most likely meant, else what there is. */
function noSuchCommand(first: string, second: string): TributaryError {
  const names = Object.keys(COMMANDS);
  const typed = [first, second].filter((word) => word !== "" && !word.startsWith("-"));
  const inGroup = names.filter((name) => name.startsWith(`${first} `)).map((name) => name.slice(first.length + 1));
  const meant = nearestCommand(typed, names);
  const hint =
    meant !== null
      ? `Did you mean \`tributary ${meant}\`? `
      : inGroup.length > 0
        ? `\`tributary ${first}\` has: ${inGroup.join(", ")}. `
        : "";
  return new TributaryError(
    "usage",
    `there is no command ${typed.join(" ") || first}`,
    `${hint}\`tributary --help\` lists the commands.`,
  );
}

/** Runs a command to its end; returns its exit code. */
export async function runCommand(args: readonly string[]): Promise<number> {
  const json = args.includes("--json");
  const [first = "--help", second = ""] = args;
  const found = [`${first} ${second}`, first].find((candidate) => Object.hasOwn(COMMANDS, candidate));
  const load = found === undefined ? undefined : COMMANDS[found];
  try {
    if (found === undefined || load === undefined) {
      const isGroup = Object.keys(COMMANDS).some((known) => known.startsWith(`${first} `));
      if (isHelp(first) || first === "help" || (isGroup && (second === "" || isHelp(second)))) {
        process.stdout.write(`${await overview(isGroup ? `${first} ` : "")}\n`);
        return 0;
      }
      throw noSuchCommand(first, second);
    }
    const command = await load();
    const input = inputOf(command, args.slice(found.split(" ").length));
    if (input.wantsHelp) {
      const summary = `${command.summary.slice(0, 1).toUpperCase()}${command.summary.slice(1)}.`;
      process.stdout.write(`${summary}\n\n  ${command.usage}\n\n${command.help}\n\n${EXIT_CODES}\n`);
      return 0;
    }
    if (command.isWithoutSettings) return await command.run(input);
    return await withSettings(input.text("config"), input.text, () => command.run(input));
  } catch (error) {
    return reportFailure(error, json);
  }
}
