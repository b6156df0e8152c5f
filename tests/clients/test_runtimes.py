"""Other OCI runtimes: Debian's runc and crun run containers, through everything that a container can be asked for."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import host
from harness.docker import Docker
from harness.engine import DOCKERD_BIN, ON_DOCKERD, Engine, engine_under_test
from harness.waiting import wait_for

RUNC = (
    os.environ.get("DOCKERD_BIN", str(DOCKERD_BIN)) + "/runc"
    if ON_DOCKERD
    else shutil.which("runc") or "/usr/sbin/runc"
)
# crun refuses a host with controllers in both hierarchies; it is not to see the second one.
CRUN = """#!/bin/sh
hide='[ ! -d /sys/fs/cgroup/unified ] || mount -t tmpfs none /sys/fs/cgroup/unified'
exec unshare -m sh -c "$hide; "'exec crun "$@"' crun "$@"
"""
NAMES = [
    "other",
    pytest.param("crun", marks=pytest.mark.skipif(ON_DOCKERD, reason="Debian's crun refuses dockerd's spec version")),
]


@pytest.fixture(scope="module")
def machine(isolated: None, base_archive: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("runtimes")
    (folder / "crun").write_text(CRUN)
    (folder / "crun").chmod(0o755)
    runtimes = {
        "crun": {"path": str(folder / "crun")},
        "debug": {"path": RUNC, "runtimeArgs": ["--debug"]},
        "typed": {"runtimeType": "io.containerd.runc.v2", "options": {"BinaryName": RUNC}},
        "missing": {"path": "/no/such/runtime"},
    }
    (folder / "daemon.json").write_text(json.dumps({"runtimes": runtimes}))
    engine = engine_under_test("--config-file", str(folder / "daemon.json"), "--add-runtime", f"other={RUNC}")
    try:
        engine.start()
        engine.docker.ok("load", stdin=base_archive)
        engine.docker.ok("run", "--rm", "-p", "80", "busybox", "true")
        yield engine
    finally:
        engine.destroy()


@pytest.fixture
def docker(machine: Engine) -> Iterator[Docker]:
    before = host.snapshot(machine)
    yield machine.docker
    machine.remove_containers()
    found = host.leaks(before, machine)
    assert not found, f"left behind on the host: {found}"


def test_info_names_them(docker: Docker) -> None:
    info = json.loads(docker.ok("info", "--format", "{{json .}}"))
    assert {"runc", "io.containerd.runc.v2", "other", "crun", "debug", "missing"} <= set(info["Runtimes"])
    assert info["Runtimes"]["debug"]["runtimeArgs"] == ["--debug"]
    assert info["DefaultRuntime"] == "runc"


def test_an_unknown_one(docker: Docker) -> None:
    message = docker.fails("create", "--runtime", "foo", "busybox", "true")
    assert message.splitlines()[0] == "Error response from daemon: unknown or invalid runtime name: foo"


def test_one_that_is_not_there(docker: Docker) -> None:
    docker.ok("create", "--name", "lost", "--runtime", "missing", "busybox", "true")
    message = docker.fails("start", "lost")
    assert "failed to create task for container: failed to create shim task: OCI runtime create failed: " in message
    assert "/no/such/runtime" in message


@pytest.mark.parametrize("name", [*NAMES, "debug", "typed"])
def test_streams_and_exit_codes(docker: Docker, name: str) -> None:
    run = ["run", "--rm", "--runtime", name]
    result = docker(*run, "-i", "busybox", "sh", "-c", "cat; echo bad >&2; exit 7", stdin="in\n")
    assert (result.code, result.out, result.err) == (7, "in\n", "bad\n")
    assert docker(*run, "busybox", "nosuch").code == (125 if name == "crun" else 127)


@pytest.mark.parametrize("name", NAMES)
def test_a_terminal(docker: Docker, name: str) -> None:
    with docker.terminal("run", "--rm", "-it", "--runtime", name, "busybox", "sh", size=(31, 97)) as terminal:
        terminal.send("tty; stty size\r")
        terminal.expect("/dev/pts/0\r\n31 97")

        def is_resized() -> bool:
            """The CLI may listen for the signal only some time after the start."""
            terminal.resize(40, 100)
            terminal.send("stty size\r")
            return terminal.shows("\n40 100\r\n")

        wait_for(is_resized)
        terminal.send("exit 3\r")
        assert terminal.wait() == 3


@pytest.mark.parametrize("name", NAMES)
def test_what_a_running_container_can_be_asked_for(docker: Docker, name: str) -> None:
    null = os.stat(os.devnull)
    flags = ["--runtime", name, "-m", "64m", "-u", "app:app", "--domainname", "where.example", "-h", "who"]
    docker.ok("run", "-d", "--name", "box", *flags, "--entrypoint", "sleep", "rich:1", "1000")
    assert docker.ok("exec", "box", "id").startswith("uid=")
    assert docker.ok("exec", "-u", "0", "-w", "/tmp", "box", "sh", "-c", "id -u; pwd").split() == ["0", "/tmp"]
    assert docker.ok("exec", "box", "cat", "/proc/sys/kernel/domainname") == "where.example"
    assert docker("exec", "box", "sh", "-c", "exit 5").code == 5
    assert docker.ok("exec", "-t", "box", "tty").strip() == "/dev/pts/0"
    assert docker("exec", "box", "nosuch").code == 127
    assert "sleep 1000" in docker.ok("top", "box")
    docker.ok("pause", "box")
    assert docker.ok("inspect", "-f", "{{.State.Status}}", "box") == "paused"
    docker.ok("unpause", "box")
    assert "64MiB" in docker.ok("stats", "--no-stream", "--format", "{{.MemUsage}}", "box")
    docker.ok("update", "-m", "80m", "--memory-swap", "90m", "box")
    assert "80MiB" in docker.ok("stats", "--no-stream", "--format", "{{.MemUsage}}", "box")
    assert "root" in docker.ok("cp", "box:/etc/passwd", "-")
    docker.ok("kill", "box")
    assert docker.ok("wait", "box") == "137"
    assert docker.ok("start", "box") == "box"
    docker.ok("rm", "-fv", "box")
    assert (os.stat(os.devnull).st_uid, os.stat(os.devnull).st_gid) == (null.st_uid, null.st_gid)


@pytest.mark.parametrize("name", NAMES)
def test_restarts_and_health_checks(docker: Docker, name: str) -> None:
    health = ["--health-cmd", "test -e /tmp/there", "--health-interval", "200ms", "--health-retries", "1"]
    script = "touch /tmp/there; sleep 1000"
    docker.ok("run", "-d", "--name", "healthy", "--runtime", name, *health, "busybox", "sh", "-c", script)
    wait_for(lambda: docker.ok("inspect", "-f", "{{.State.Health.Status}}", "healthy") == "healthy")
    docker.ok("exec", "healthy", "rm", "/tmp/there")
    wait_for(lambda: docker.ok("inspect", "-f", "{{.State.Health.Status}}", "healthy") == "unhealthy")
    policy = ["--restart", "on-failure:2"]
    docker("run", "--name", "again", "--runtime", name, *policy, "busybox", "sh", "-c", "echo x; exit 1")
    wait_for(lambda: docker.ok("inspect", "-f", "{{.State.Status}} {{.RestartCount}}", "again") == "exited 2")
    assert docker("logs", "again").out == "x\nx\nx\n"


@pytest.mark.parametrize("name", NAMES)
def test_mounts_and_shared_namespaces(docker: Docker, name: str) -> None:
    docker.ok("volume", "create", "parts")
    docker.ok("run", "--rm", "-v", "parts:/v", "busybox", "sh", "-c", "mkdir -p /v/in; echo part > /v/in/file")
    part = "type=volume,src=parts,dst=/part,volume-subpath=in"
    image = "type=image,src=rich:1,dst=/other,image-subpath=data"
    flags = ["--runtime", name, "--ipc", "shareable", "--init", "--tmpfs", "/t:size=1m", "--read-only"]
    command = ["sh", "-c", "cat /part/file /other/seed; echo shared > /dev/shm/file; echo ready; sleep 1000"]
    docker.ok("run", "-d", "--name", "donor", *flags, "--mount", part, "--mount", image, "busybox", *command)
    wait_for(lambda: "ready" in docker("logs", "donor").out)
    assert docker("logs", "donor").out.splitlines()[:2] == ["part", "from the image"]
    joined = ["--runtime", name, "--ipc", "container:donor", "--pid", "container:donor", "--network", "container:donor"]
    script = "cat /dev/shm/file; pidof docker-init; readlink /proc/self/ns/net"
    told = docker.ok("run", "--rm", *joined, "busybox", "sh", "-c", script).split()
    assert told == ["shared", "1", docker.ok("exec", "donor", "readlink", "/proc/self/ns/net")]
    docker.ok("rm", "-fv", "donor")
    docker.ok("volume", "rm", "parts")


@pytest.mark.parametrize("name", NAMES)
def test_confinement_is_the_same(docker: Docker, name: str) -> None:
    shown = ["grep", "-E", "^(Cap(Bnd|Eff)|Seccomp|NoNewPrivs):", "/proc/self/status"]
    flags = ["--security-opt", "no-new-privileges", "--cap-drop", "CHOWN"]
    own = docker.ok("run", "--rm", *flags, "busybox", *shown)
    assert docker.ok("run", "--rm", "--runtime", name, *flags, "busybox", *shown) == own
    refused = docker(
        "run", "--rm", "--runtime", name, "busybox", "sh", "-c", "unshare -m true; cat /proc/kcore | wc -c"
    )
    assert refused.out.strip() == "0"
    assert "Operation not permitted" in refused.err


@pytest.mark.skipif(ON_DOCKERD, reason="a container of dockerd ends with its shim")
def test_the_daemon_and_the_shim_may_die(machine: Engine) -> None:
    docker = machine.docker
    docker.ok("run", "-d", "--name", "box", "--runtime", "other", "busybox", "sleep", "1000")
    machine.restart()
    assert docker.ok("exec", "box", "echo", "still") == "still"
    pid = int(docker.ok("inspect", "-f", "{{.State.Pid}}", "box"))
    shim = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(shim, signal.SIGKILL)
    assert docker.ok("wait", "box") == "137"
    docker.ok("start", "box")
    docker.ok("rm", "-fv", "box")


@pytest.mark.skipif(ON_DOCKERD, reason="dockerd reloads nothing from a file beside a flag of the same name")
def test_the_default_is_reloaded(machine: Engine, docker: Docker) -> None:
    path = Path(machine.flags[1])
    before = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(before) | {"default-runtime": "debug"}))
        os.kill(machine.pid, signal.SIGHUP)
        wait_for(lambda: docker.ok("info", "-f", "{{.DefaultRuntime}}") == "debug")
        docker.ok("create", "--name", "box", "busybox", "true")
        assert docker.ok("inspect", "-f", "{{.HostConfig.Runtime}}", "box") == "debug"
    finally:
        path.write_text(before)
        os.kill(machine.pid, signal.SIGHUP)
    wait_for(lambda: docker.ok("info", "-f", "{{.DefaultRuntime}}") == "runc")
