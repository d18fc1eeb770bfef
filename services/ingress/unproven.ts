import { turns } from "../core/index.ts";

/** Batches of one address that are looked at, and that wait. All devices of a site may share an address, and behind a proxy all devices of a hub. */
const ADDRESS_BOUNDS = { max: Number.POSITIVE_INFINITY, maxEach: 64, maxWaitingEach: 64 };
/** The same for one device's name at one address. */
const NAME_BOUNDS = { max: Number.POSITIVE_INFINITY, maxEach: 2, maxWaitingEach: 8 };
/** Batches that are unpacked at a time, in all and of one address: each takes up to 8 MiB. Those that wait are counted above. */
const WORK_BOUNDS = { max: 8, maxEach: 4, maxWaitingEach: Number.POSITIVE_INFINITY };

export interface Unproven {
  /** Runs `work` when it is its turn. Throws `backend-failed` if too much of this address, or of this device at this address, waits already. */
  run<T>(device: string, address: string | undefined, work: (key: string) => Promise<T>): Promise<T>;
}

/**
 * Slots for batches whose sender has shown nothing but a name. Anybody can use a name, so it counts only together with the address that it came from: whoever sends in
 * another's name fills the slots of his own address.
 */
export function unproven(): Unproven {
  const [addresses, names, working] = [turns(ADDRESS_BOUNDS), turns(NAME_BOUNDS), turns(WORK_BOUNDS)];
  return {
    run(device, address, work) {
      const network = networkOf(address ?? "nowhere");
      const key = `${device} at ${network}`;
      return addresses.run(network, () => names.run(key, () => working.run(network, () => work(key))));
    },
  };
}

const V4_IN_V6 = /^::ffff:(?=\d+\.)/i;
const GROUPS = 8;
const NETWORK_GROUPS = 4;

/** The address, as far as its owner cannot choose it: of version 6 the first 64 bits, as one machine has all the rest. */
export function networkOf(address: string): string {
  const plain = address.replace(V4_IN_V6, "");
  if (!plain.includes(":")) return plain;
  const [before = "", after] = plain.split("::");
  const groups = (text: string): string[] => text.split(":").filter((group) => group !== "");
  const [first, last] = [groups(before), groups(after ?? "")];
  const left = Array.from({ length: Math.max(0, GROUPS - first.length - last.length) }, () => "0");
  return `${[...first, ...left, ...last].slice(0, NETWORK_GROUPS).join(":")}::/64`;
}
