import { sha256 } from "../../core/index.ts";
import { utf8Bytes } from "../bytes.ts";
import type { Avro, AvroRecord } from "./model.ts";

/**
 * Parsing Canonical Form: the text that is the same for all schemas that read and write the same bytes: full names, no documentation,
 * no defaults, no aliases. Source: https://avro.apache.org/docs/1.12.0/specification/#parsing-canonical-form-for-schemas
 */
export function canonicalForm(type: Avro, written = new Set<string>()): string {
  switch (type.kind) {
    case "array":
      return `{"type":"array","items":${canonicalForm(type.items, written)}}`;
    case "map":
      return `{"type":"map","values":${canonicalForm(type.values, written)}}`;
    case "union":
      return `[${type.branches.map((branch) => canonicalForm(branch, written)).join(",")}]`;
    case "record":
    case "enum":
    case "fixed": {
      const name = JSON.stringify(type.name);
      if (written.has(type.name)) return name;
      written.add(type.name);
      if (type.kind === "enum") return `{"name":${name},"type":"enum","symbols":${JSON.stringify(type.symbols)}}`;
      if (type.kind === "fixed") return `{"name":${name},"type":"fixed","size":${type.size}}`;
      return `{"name":${name},"type":"record","fields":[${fieldsOf(type, written)}]}`;
    }
    default:
      return JSON.stringify(type.kind);
  }
}

const fieldsOf = (record: AvroRecord, written: Set<string>): string =>
  record.fields.map(({ name, type }) => `{"name":${JSON.stringify(name)},"type":${canonicalForm(type, written)}}`).join(",");

const EMPTY = 0xc15d213aa4d7a795n;
const TABLE = Array.from({ length: 256 }, (_, i) => {
  let entry = BigInt(i);
  for (let bit = 0; bit < 8; bit++) entry = (entry >> 1n) ^ (EMPTY & -(entry & 1n));
  return BigInt.asUintN(64, entry);
});

/** CRC-64-AVRO, as 16 hexadecimal digits, most significant first. Source: the specification's section on schema fingerprints. */
export function crc64(text: string): string {
  let crc = EMPTY;
  for (const byte of utf8Bytes(text)) crc = (crc >> 8n) ^ TABLE[Number((crc ^ BigInt(byte)) & 0xffn)]!;
  return crc.toString(16).padStart(16, "0");
}

/** Both fingerprints of a schema's Parsing Canonical Form, hexadecimal. */
export function fingerprints(type: Avro): { readonly sha256: string; readonly crc64: string } {
  const text = canonicalForm(type);
  return { sha256: sha256(text), crc64: crc64(text) };
}
