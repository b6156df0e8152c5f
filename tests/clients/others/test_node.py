"""What is written for Node.js: dockerode, and the dev container CLI."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from harness.docker import Docker
from harness.engine import Engine

from .conftest import CACHE

NODE_MODULES = CACHE / "node" / "node_modules"
OnHost = Callable[..., subprocess.CompletedProcess[str]]

DOCKERODE = """
const Docker = require('dockerode');
const { PassThrough } = require('stream');
const docker = new Docker({ socketPath: process.argv[2] });
const text = (stream) => new Promise((done) => {
  let seen = ''; stream.on('data', (data) => seen += data); stream.on('end', () => done(seen));
});
(async () => {
  const events = await docker.getEvents({ filters: { type: ['container'] } });
  const seen = [];
  events.on('data', (data) => seen.push(...data.toString().trim().split('\\n').map((line) => JSON.parse(line).Action)));

  const out = new PassThrough(), err = new PassThrough(), outText = text(out), errText = text(err);
  const [result, first] = await docker.run(
    'busybox', ['sh', '-c', 'echo out; echo err >&2; exit 3'], [out, err], { Tty: false });
  out.end(); err.end();
  console.log(JSON.stringify([result.StatusCode, await outText, await errText]));
  await first.remove();

  const box = await docker.createContainer({ Image: 'busybox', Cmd: ['cat'], OpenStdin: true, Tty: true });
  const attached = await box.attach({ stream: true, stdin: true, stdout: true, hijack: true });
  await box.start();
  await box.resize({ h: 30, w: 100 });
  const echo = new Promise((done) => attached.once('data', (data) => done(data.toString())));
  attached.write('typed\\n');
  console.log(JSON.stringify([(await echo).includes('typed'), (await box.inspect()).State.Running]));

  const exec = await box.exec({ Cmd: ['cat'], AttachStdin: true, AttachStdout: true });
  const stream = await exec.start({ hijack: true, stdin: true });
  const plain = new PassThrough(), plainText = text(plain);
  docker.modem.demuxStream(stream, plain, plain);
  stream.on('end', () => plain.end());
  stream.end('through exec');
  console.log(JSON.stringify([await plainText, (await exec.inspect()).ExitCode]));

  console.log(JSON.stringify((await docker.listContainers()).map((found) => found.Image)));
  const stats = await box.stats({ stream: false });
  console.log(JSON.stringify(stats.memory_stats.usage > 0));
  await box.remove({ force: true });
  events.destroy();
  console.log(JSON.stringify(['create', 'start', 'die', 'destroy'].every((action) => seen.includes(action))));
})().catch((error) => { console.error(error); process.exit(1); });
"""


def test_dockerode(engine: Engine, on_host: OnHost) -> None:
    done = on_host("node", "-e", DOCKERODE, "--", "x", engine.socket, env={"NODE_PATH": str(NODE_MODULES)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        [3, "out\n", "err\n"],
        [True, True],
        ["through exec", 0],
        ["busybox"],
        True,
        True,
    ]


def test_dev_containers(engine: Engine, docker: Docker, on_host: OnHost, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    (workspace / ".devcontainer").mkdir(parents=True)
    (workspace / "file").write_text("of the workspace\n")
    settings = {
        "image": "busybox",
        "remoteUser": "root",
        "containerEnv": {"A": "b"},
        "postCreateCommand": "echo created > /tmp/hook",
    }
    (workspace / ".devcontainer" / "devcontainer.json").write_text(json.dumps(settings))
    command = [str(NODE_MODULES / ".bin" / "devcontainer")]
    where = ["--docker-path", docker.cli, "--workspace-folder", str(workspace)]
    done = on_host(*command, "up", *where)
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["outcome"] == "success" and docker.ok("ps", "-q", "--no-trunc") == outcome["containerId"]
    done = on_host(*command, "exec", *where, "sh", "-c", "cat file /tmp/hook; echo $A")
    assert done.stdout.split("\n")[:3] == ["of the workspace", "created", "b"], done.stdout + done.stderr
