import type { Command } from "./args.ts";
export const demo: Command = { name: "demo", summary: "x", usage: "x", help: "x", options: {}, run: async () => 0 };
