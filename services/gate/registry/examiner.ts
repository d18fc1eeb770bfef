import { Worker } from "node:worker_threads";
import { type ErrorCode, TributaryError } from "../../core/index.ts";
import type { Answer, FromThread, Question } from "./examination.ts";

/**
 * Examines and compares schemas in threads of their own, so that what a stranger sends takes neither the time nor the memory of those who wait for
 * receipts. One question at a time for each asker; what takes too long, or too much, is refused.
 *
 *   a question:  waiting ── a thread is free, and none of the same asker is asked ──▶ asked ──▶ answered
 *                                                                                       └──▶ refused: too long, or too large
 *   a thread:    idle ── question ──▶ busy ──▶ idle … ended after a while without questions, or MAX_QUESTIONS of them
 *                                        └── too long, or out of memory ──▶ ended
 */
export interface Examiner {
  /** Throws `backend-failed` when too many wait, or the registry closes meanwhile. */
  ask(question: Question, asker: string): Promise<Answer>;
  close(): void;
}

export interface ExaminerLimits {
  readonly timeMs: number;
  readonly memoryMb: number;
}
export const EXAMINER_LIMITS: ExaminerLimits = { timeMs: 20_000, memoryMb: 384 };

/** Two, so that one asker's long question does not keep all others waiting. */
const MAX_THREADS = 2;
const MAX_WAITING = 64;
const MAX_WAITING_OF_ONE = 8;
/** Schemas leave things behind in the validator; a thread is replaced after so many questions. */
const MAX_QUESTIONS = 200;
const IDLE_MS = 30_000;
const STACK_MB = 4;

interface Job {
  readonly question: Question;
  readonly asker: string;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}
interface Thread {
  readonly worker: Worker;
  job: Job | null;
  isComparing: boolean;
  questions: number;
  timer: NodeJS.Timeout | null;
}

const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
const PROGRAM = new URL(`./examiner-thread.${extension}`, import.meta.url);

// Long because it is one state machine of questions and threads (drawn above); each transition is a function of its own.
export function openExaminer({ timeMs, memoryMb }: ExaminerLimits = EXAMINER_LIMITS): Examiner {
  const threads = new Set<Thread>();
  let waiting: Job[] = [];
  let isClosed = false;

  return {
    ask: (question, asker) =>
      new Promise((resolve, reject) => {
        const mine = waiting.filter((job) => job.asker === asker).length;
        if (isClosed) return reject(closing());
        if (waiting.length >= MAX_WAITING || mine >= MAX_WAITING_OF_ONE) return reject(busy());
        waiting.push({ question, asker, resolve, reject });
        next();
      }),
    close() {
      isClosed = true;
      for (const job of waiting) job.reject(closing());
      waiting = [];
      for (const thread of threads) end(thread, closing());
    },
  };

  function next(): void {
    const asked = new Set([...threads].map(({ job }) => job?.asker));
    const job = waiting.find(({ asker }) => !asked.has(asker));
    if (job === undefined) return;
    const thread = [...threads].find((each) => each.job === null) ?? (threads.size < MAX_THREADS ? begin() : null);
    if (thread === null) return;
    waiting = waiting.filter((each) => each !== job);
    if (thread.timer !== null) clearTimeout(thread.timer);
    thread.job = job;
    thread.isComparing = false;
    thread.questions++;
    thread.timer = setTimeout(() => tooMuch(thread, `${timeMs / 1000} s`), timeMs);
    thread.worker.ref();
    thread.worker.postMessage(job.question);
    next();
  }

  function begin(): Thread {
    const worker = new Worker(PROGRAM, {
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: memoryMb, maxYoungGenerationSizeMb: 32, stackSizeMb: STACK_MB },
    });
    const thread: Thread = { worker, job: null, isComparing: false, questions: 0, timer: null };
    threads.add(thread);
    worker.on("message", (message: FromThread) => heard(thread, message));
    worker.on("error", (error: NodeJS.ErrnoException) =>
      error.code === "ERR_WORKER_OUT_OF_MEMORY"
        ? tooMuch(thread, `${memoryMb} MB`)
        : end(
            thread,
            new TributaryError("internal", "the thread that examines schemas failed", "Report this.", { cause: error }),
          ),
    );
    worker.on("exit", () => end(thread, busy()));
    return thread;
  }

  function heard(thread: Thread, message: FromThread): void {
    if (message.kind === "comparing") {
      thread.isComparing = true;
      return;
    }
    const { job } = thread;
    if (job === null) return;
    if (message.kind === "answer") job.resolve(message.answer);
    else job.reject(new TributaryError((message.code as ErrorCode | null) ?? "internal", message.message, message.hint));
    free(thread);
  }

  function free(thread: Thread): void {
    thread.job = null;
    if (thread.timer !== null) clearTimeout(thread.timer);
    thread.timer = setTimeout(() => end(thread, busy()), IDLE_MS).unref();
    // A process that has nothing else to do may end.
    thread.worker.unref();
    if (thread.questions >= MAX_QUESTIONS) end(thread, busy());
    next();
  }

  function tooMuch(thread: Thread, bound: string): void {
    const { job, isComparing } = thread;
    job?.resolve(
      isComparing ? { kind: "compared", findings: [tooIntricate(job.question, bound)] } : tooLarge(job.question, bound),
    );
    thread.job = null;
    end(thread, busy());
  }

  function end(thread: Thread, error: TributaryError): void {
    if (!threads.delete(thread)) return;
    if (thread.timer !== null) clearTimeout(thread.timer);
    thread.job?.reject(error);
    thread.job = null;
    void thread.worker.terminate();
    if (!isClosed) next();
  }
}

const busy = (): TributaryError =>
  new TributaryError("backend-failed", "the registry is busy with other schemas", "Ask again in a minute.");
const closing = (): TributaryError => new TributaryError("backend-failed", "the registry is closing", "Ask again later.");

const tooLarge = ({ candidate: { subject, version } }: Question, bound: string): Answer => ({
  kind: "refused",
  message: `${subject} version ${version}: examining it takes more than ${bound}`,
  hint: "Make it smaller, or split it into several subjects.",
});

/** The last one of those that it was compared with stands for all: nobody knows how far it came. */
const tooIntricate = ({ earlier }: Question, bound: string): Extract<Answer, { kind: "compared" }>["findings"][number] => ({
  direction: "backward",
  against: earlier.at(-1)?.version ?? 0,
  rule: "complexity",
  message: `the schemas are too intricate: comparing them takes more than ${bound}`,
  path: "",
  againstPath: "",
  counterexample: null,
  hint: "Make them simpler, above all schemas that lead back to themselves in several ways; or make it a subject of its own.",
});
