import { parentPort } from "node:worker_threads";
import { isTributaryError, messageOf } from "../../core/index.ts";
import { examine, type FromThread, type Question } from "./examination.ts";

/** A thread of the examiner: one question at a time. Who asks bounds its time and memory. */
const port = parentPort;
if (port === null) throw new Error("this is a thread's program");
const say = (message: FromThread): void => port.postMessage(message);

port.on("message", (question: Question) => {
  examine(question, () => say({ kind: "comparing" })).then(
    (answer) => say({ kind: "answer", answer }),
    (error: unknown) =>
      say({
        kind: "failed",
        code: isTributaryError(error) ? error.code : null,
        message: messageOf(error),
        hint: isTributaryError(error) ? error.hint : "",
      }),
  );
});
