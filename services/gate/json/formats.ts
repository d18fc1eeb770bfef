import type { Ajv2020 } from "ajv/dist/2020.js";
import formats, { type FormatName } from "ajv-formats";

/**
 * The formats that are asserted. Those of `ajv-formats` that pass the JSON Schema Test Suite are taken as they are; the rest is
 * mended below, or refused when a schema names it.
 */
const AS_THEY_ARE: readonly FormatName[] = ["date", "time", "ipv4", "ipv6", "json-pointer", "relative-json-pointer"];

/** One of the library's own checks, for a part of a text. */
function taken(name: FormatName): (text: string) => boolean {
  const format = formats.default.get(name);
  if (format instanceof RegExp) return (text) => format.test(text);
  if (typeof format === "function") return format as (text: string) => boolean;
  return (format as { readonly validate: (text: string) => boolean }).validate;
}
const isDate = taken("date");
const isIpv4 = taken("ipv4");
const isIpv6 = taken("ipv6");
const isRegex = taken("regex");

const DATE = String.raw`\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])`;
const DATE_TIME = new RegExp(
  String.raw`^(${DATE})[Tt ]((?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60))(?:\.\d+)?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$`,
);
const DURATION =
  /^P(?=[\dT])(?:\d+W|(?:\d+Y(?:\d+M(?:\d+D)?)?|\d+M(?:\d+D)?|\d+D)?(?:T(?=\d)(?:\d+H(?:\d+M(?:\d+S)?)?|\d+M(?:\d+S)?|\d+S)?)?)$/;
const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i;
const LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
const ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
const EMAIL = new RegExp(
  String.raw`^(?:${ATOM}(?:\.${ATOM})*|"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*")@(?:(${LABEL}(?:\.${LABEL})*)|\[([^\]]+)\])$`,
);
/** A longer text does not count as a regular expression: reading a megabyte of brackets takes a second. */
const MAX_REGEX = 10_000;
/** A longer text is not an address of any kind; a bound keeps matching cheap. */
const MAX_ADDRESS = 2_048;

/** RFC 3339 lets a minute end with a 61st second only where UTC's day ends. */
function isDateTime(text: string): boolean {
  const parts = DATE_TIME.exec(text);
  if (parts === null) return false;
  const [, date, time, zone] = parts as unknown as [string, string, string, string];
  if (!isDate(date)) return false;
  if (!time.endsWith("60")) return true;
  const [hours, minutes] = time.split(":").map(Number) as [number, number];
  const offset = /^[Zz]$/.test(zone)
    ? 0
    : (zone[0] === "-" ? -1 : 1) * (Number(zone.slice(1, 3)) * 60 + Number(zone.slice(4, 6)));
  return (((hours * 60 + minutes - offset) % 1_440) + 1_440) % 1_440 === 1_439;
}

function isEmail(text: string): boolean {
  if (text.length > 320) return false;
  const parts = EMAIL.exec(text);
  if (parts === null) return false;
  const literal = parts[2];
  return literal === undefined || isIpv4(literal) || (/^IPv6:/i.test(literal) && isIpv6(literal.slice(5)));
}

const UNRESERVED = "[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2}";
const SEGMENTS = new RegExp(`^(?:${UNRESERVED}|[:@/])*$`);
const QUERY = new RegExp(`^(?:${UNRESERVED}|[:@/?])*$`);
const HOST = new RegExp(`^(?:${UNRESERVED})*$`);
const USER = new RegExp(`^(?:${UNRESERVED}|:)*$`);

/** RFC 3986, part by part: no regular expression that has to try twice. */
function isUriReference(text: string, needsScheme: boolean): boolean {
  if (text.length > MAX_ADDRESS) return false;
  const parts = /^(?:([^:/?#]+):)?(?:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?$/s.exec(text);
  if (parts === null) return false;
  const [, scheme, authority, path = "", query = "", fragment = ""] = parts;
  if (scheme === undefined ? needsScheme : !/^[A-Za-z][A-Za-z0-9+.-]*$/.test(scheme)) return false;
  if (authority !== undefined && !isAuthority(authority)) return false;
  return SEGMENTS.test(path) && QUERY.test(query) && QUERY.test(fragment);
}

function isAuthority(text: string): boolean {
  const at = text.indexOf("@");
  if (at >= 0 && !USER.test(text.slice(0, at))) return false;
  const [, host, port] = /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/s.exec(text.slice(at + 1)) ?? [];
  if (host === undefined || (port !== undefined && !/^\d*$/.test(port))) return false;
  if (!host.startsWith("[")) return HOST.test(host);
  const inside = host.slice(1, -1);
  return isIpv6(inside) || /^v[0-9a-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+$/i.test(inside);
}

const MENDED: Readonly<Record<string, (text: string) => boolean>> = {
  "date-time": isDateTime,
  duration: (text) => DURATION.test(text),
  uuid: (text) => UUID.test(text),
  email: isEmail,
  uri: (text) => isUriReference(text, true),
  "uri-reference": (text) => isUriReference(text, false),
  regex: (text) => text.length <= MAX_REGEX && isRegex(text),
};

/** The formats that a schema may declare. */
export const FORMATS: readonly string[] = [...AS_THEY_ARE, ...Object.keys(MENDED)].sort();

/** Texts of each format, for examples. */
export const FORMAT_EXAMPLES: Readonly<Record<string, string>> = {
  date: "2026-05-03",
  time: "08:00:00Z",
  "date-time": "2026-05-03T08:00:00Z",
  duration: "P3D",
  email: "office@example.org",
  ipv4: "192.0.2.1",
  ipv6: "2001:db8::1",
  "json-pointer": "/a",
  "relative-json-pointer": "1/a",
  regex: "^a",
  uri: "https://example.org/a",
  "uri-reference": "a/b",
  uuid: "018f3f0e-7d5a-7cc0-8000-000000000001",
};

export function addFormats(ajv: Ajv2020): void {
  formats.default(ajv, [...AS_THEY_ARE]);
  for (const [name, validate] of Object.entries(MENDED)) ajv.addFormat(name, { type: "string", validate });
}
