import { expect, it } from "vitest";
import { saidLast } from "../../services/cli/keep-worker.ts";

it.each([
  ["", ""],
  ["tributary: the disk is full\nMake room.", ": tributary: the disk is full. Make room"],
  ["Not done:\nthe first\nthe second", ": Not done: the first. the second"],
])("what a worker said last is told in one line, as sentences: %j", (words, line) => expect(saidLast(words)).toBe(line));
