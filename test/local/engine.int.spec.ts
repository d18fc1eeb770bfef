import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "nats";
import { expect, it, onTestFinished } from "vitest";
import { containerName, startContainer } from "../../services/local/engine.ts";
import { freePort, startNats } from "../../services/local/index.ts";
import { endLeftover, isAlive } from "../../services/local/process.ts";
import { eventually, tempDir } from "../support/temp.ts";

/**
 * Speaks the engine's command line as far as a hub uses it, over processes of this machine instead of containers: what is tested is what the hub does with
 * names, pids and ends. The server is a real one; `containers.int.spec.ts` runs the images where an engine answers.
 */
function engineOver(program: string): string {
  const dir = tempDir();
  const engine = join(dir, "engine");
  writeFileSync(
    engine,
    `#!/bin/bash
state=${dir}
echo "$@" >>$state/calls
pid_of() { cat $state/$1.pid 2>/dev/null; }
case $1 in
  run) name=; port=; folder=
    while [ $# -gt 0 ]; do
      case $1 in --name) name=$2;; --publish) port=\${2#127.0.0.1:}; port=\${port%:*};; --volume) folder=\${2%%:*};; esac
      shift
    done
    [ -f $state/$name.pid ] && { echo "the name $name is taken" >&2; exit 125; }
    setsid ${program} -a 127.0.0.1 -p $port -js -sd "$folder" >/dev/null 2>&1 </dev/null &
    echo $! >$state/$name.pid; echo $name;;
  inspect) pid_of "\${@: -1}";;
  wait) while kill -0 $(pid_of $2) 2>/dev/null; do sleep 0.05; done; rm -f $state/$2.pid; echo 137;;
  stop|rm) name=\${@: -1}; [ -f $state/$name.pid ] || exit 1; pid=$(pid_of $name); kill -9 $pid; while kill -0 $pid 2>/dev/null; do sleep 0.05; done; rm -f $state/$name.pid;;
esac
`,
  );
  chmodSync(engine, 0o755);
  return engine;
}

it("a server in a container is named for its data folder, has a pid and can be ended; one that a killed hub left is ended by the next start", async () => {
  // Where this machine's own server is.
  const own = await startNats({ dataDir: tempDir() });
  const program = /\((\/.*)\)/.exec(own.detail)![1]!;
  await own.close();
  const engine = engineOver(program);
  const dataDir = tempDir();
  mkdirSync(join(dataDir, "nats"));
  const start = async () => {
    const port = await freePort();
    const url = `nats://127.0.0.1:${port}`;
    return startContainer(engine, {
      ...{ name: "nats", dataDir, port: 4222, hostPort: port, volume: [join(dataDir, "nats"), "/data"], url },
      probe: async () => (await connect({ servers: url, timeout: 500, reconnect: false })).close(),
    });
  };
  const first = await start();
  onTestFinished(() => first.close());
  expect(first).toMatchObject({ how: "container", container: containerName(dataDir, "nats") });
  expect(containerName(tempDir(), "nats")).not.toBe(first.container);
  expect(isAlive(first.pid!)).toBe(true);
  await expect(endLeftover(dataDir, "nats")).rejects.toMatchObject({ code: "already-running" });
  process.kill(first.pid!, "SIGKILL");
  expect(await first.exited).toEqual({ code: 137, signal: null });
  expect(existsSync(join(dataDir, "nats.pid"))).toBe(false);

  // This looks as if its hub had been killed: the note names an owner that is gone.
  const second = await start();
  onTestFinished(() => second.close());
  const note = JSON.parse(readFileSync(join(dataDir, "nats.pid"), "utf8")) as object;
  writeFileSync(join(dataDir, "nats.pid"), JSON.stringify({ ...note, owner: { pid: 999_999_999, start: "1" } }));
  await endLeftover(dataDir, "nats");
  await eventually("the end of what was left", async () => !isAlive(second.pid!));
  expect(spawnSync("cat", [join(engine, "../calls")], { encoding: "utf8" }).stdout).toContain(`rm --force ${second.container}`);
});
