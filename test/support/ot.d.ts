/** Untyped packages that only tests use. Source: https://github.com/ottypes/fuzzer, https://github.com/ottypes/text */
declare module "ot-fuzzer" {
  /** Plays random histories of a type against its laws; `genOp` makes an op and says what it should result in. */
  const fuzzer: (type: object, genOp: (doc: string) => readonly [op: unknown, result: string], iterations: number) => void;
  export default fuzzer;
}
declare module "ot-text-unicode/test/genOp.js" {
  const genOp: (doc: string) => readonly [op: unknown, result: string];
  export default genOp;
}
