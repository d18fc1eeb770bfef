import { NatsError } from "nats";
import { expect, it } from "vitest";
import { publishFailure } from "../../services/ingress/broker.ts";

const refused = (description: string): NatsError => {
  const error = new NatsError("503", "503");
  error.api_error = { code: 503, err_code: 10_077, description };
  return error;
};

it.each([
  ["insufficient resources", "disk-full", 507],
  ["insufficient storage resources available", "disk-full", 507],
  ["write /data/1.blk: no space left on device", "disk-full", 507],
  ["maximum messages per subject exceeded", "backend-failed", 503],
  ["maximum messages exceeded", "backend-failed", 503],
  ["maximum bytes exceeded", "backend-failed", 503],
])("a broker that refuses a batch with “%s” tells the device %s", (description, code, status) => {
  expect(publishFailure(refused(description))).toMatchObject({ code, status });
});

it("a broker that does not answer is away", () => {
  expect(publishFailure(new NatsError("TIMEOUT", "TIMEOUT"))).toMatchObject({ code: "backend-unreachable" });
});
