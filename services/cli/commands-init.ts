import type { Command } from "./args.ts";
export const init: Command = {
  name: "init",
  summary: "begin a project of your own",
  usage: "tributary init [DIR]",
  help: "",
  options: {},
  run: async () => 0,
};
