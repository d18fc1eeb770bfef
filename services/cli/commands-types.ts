import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { TributaryError } from "../core/index.ts";
import type { Command } from "./args.ts";
import { FOLDER_OPTIONS, foldersHere, loadForms, loadViews } from "./folders.ts";
import { counted } from "./output.ts";
import { OWN_SUBJECTS } from "./program.ts";
import { typesFile, viewsOnDevices } from "./types-file.ts";

export const types: Command = {
  name: "types",
  summary: "write the TypeScript types of the project's events and views",
  usage: "tributary types [--out FILE] [--check] [--schemas DIR] [--projections DIR]",
  help: `Writes to FILE, or to standard output: a type for the data of each version of each form, a type for the rows of each view that devices have, and Tributary, which names them by
event type and view. A field app opens its database with openField<Tributary>(…); then the compiler knows what field.append takes and field.query returns. A program that asks a hub does so with
client<Tributary>(…). The same forms and views give the same text. --check writes nothing, and ends with 3 if FILE is not what would be written: for a build.

  tributary types --out src/tributary.d.ts`,
  maxPositionals: 0,
  options: { ...FOLDER_OPTIONS, out: { type: "string" }, check: { type: "boolean" } },
  async run({ text, flag, out }) {
    const file = text("out");
    if (flag("check") && file === undefined)
      throw new TributaryError("usage", "--check needs the file that is checked", `Use: ${types.usage}`);
    const folders = foldersHere();
    const views = await loadViews(folders);
    const made = typesFile(loadForms(folders, { trusted: true }), views, OWN_SUBJECTS);
    if (file === undefined) {
      if (out.json) out.result({ text: made });
      else await out.piece(made);
      return 0;
    }
    const isSame = existsSync(file) && readFileSync(file, "utf8") === made;
    out.result({ file, isSame });
    if (flag("check")) {
      if (!isSame)
        throw new TributaryError(
          "input-malformed",
          `${file} is not what the forms and views say`,
          `Make it again: \`tributary types --out ${file}\`.`,
        );
      out.line(`${file} is what the forms and views say.`);
      return 0;
    }
    if (!isSame) writeFileSync(file, made);
    out.line(
      `${isSame ? "Unchanged" : "Wrote"}: ${file}, with ${counted(viewsOnDevices(views).length, "view")}. Open the database with openField<Tributary>(…), or a hub with client<Tributary>(…).`,
    );
    return 0;
  },
};
