import fc from "fast-check";

// A failing property is shrunk for a bounded time; its seed is printed in any case.
fc.configureGlobal({ interruptAfterTimeLimit: 120_000, markInterruptAsFailure: true });
