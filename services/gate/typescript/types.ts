import type { SchemaVersion } from "../schema.ts";
import { avroTypes } from "./avro.ts";
import { jsonTypes } from "./json.ts";
import { ANY, comment, namer, typeName } from "./words.ts";

/** The declaration of any JSON, which the others use. */
export const ANY_JSON = `export type ${ANY} = null | boolean | number | string | readonly ${ANY}[] | { readonly [member: string]: ${ANY} };\n`;

export interface DataType {
  readonly subject: string;
  readonly version: number;
  /** The name of its type. */
  readonly name: string;
  /** TypeScript: this type, and those that it is made of. */
  readonly text: string;
}

/** The TypeScript types of the data that schemas take, in the order given. Names differ from each other, and the same schemas give the same text. */
export function dataTypes(schemas: readonly SchemaVersion[], take: (wanted: string) => string = namer()): readonly DataType[] {
  return schemas.map((schema) => {
    const { subject, version, model, annotations } = schema;
    const name = take(`${typeName(subject)}V${version}`);
    const types = model.kind === "avro" ? avroTypes(model.type, name, take) : jsonTypes(model.document, name, take);
    const says = `${annotations.title ?? subject}, version ${version}.`;
    const text = types
      .map(({ name: own, type }, i) => `${i === 0 ? comment(says) : ""}export type ${own} = ${type ?? ANY};\n`)
      .join("\n");
    return { subject, version, name, text };
  });
}
