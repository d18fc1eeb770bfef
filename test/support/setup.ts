import fc from "fast-check";
import { moveIn } from "./home.ts";
import { PROPERTY_MS } from "./patience.ts";

// A failing property is shrunk for a bounded time; its seed is printed either way.
fc.configureGlobal({ interruptAfterTimeLimit: PROPERTY_MS, markInterruptAsFailure: true });

moveIn();
