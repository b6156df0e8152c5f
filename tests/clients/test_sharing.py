"""Namespaces that containers share: `--ipc container:`, and who may."""

from __future__ import annotations

from harness.docker import Docker
from harness.engine import Engine


def test_a_shareable_ipc_namespace_is_joined_with_its_memory(engine: Engine, docker: Docker) -> None:
    docker.ok("run", "-d", "--name", "donor", "--ipc", "shareable", "--shm-size", "8m", "busybox", "sleep", "1000")
    docker.ok("exec", "donor", "sh", "-c", "echo from the donor > /dev/shm/note")
    script = "readlink /proc/self/ns/ipc; cat /dev/shm/note; df -k /dev/shm | grep -o 8192; echo back > /dev/shm/reply"
    joined = docker.ok("run", "--rm", "--ipc", "container:donor", "busybox", "sh", "-c", script).splitlines()
    assert joined == [docker.ok("exec", "donor", "readlink", "/proc/self/ns/ipc"), "from the donor", "8192"]
    assert docker.ok("exec", "donor", "cat", "/dev/shm/reply") == "back"


def test_a_private_ipc_namespace_is_not_joined(engine: Engine, docker: Docker) -> None:
    docker.ok("run", "-d", "--name", "private", "busybox", "sleep", "1000")
    message = docker.fails("run", "--rm", "--ipc", "container:private", "busybox", "true", code=125)
    assert "non-shareable IPC (hint: use IpcMode:shareable for the donor container)" in message


def test_the_donor_must_run(engine: Engine, docker: Docker) -> None:
    donor = docker.ok("run", "-d", "--name", "donor", "--ipc", "shareable", "busybox", "sleep", "1000")
    docker.ok("create", "--name", "guest", "--ipc", "container:donor", "busybox", "true")
    docker.ok("stop", "-t", "0", "donor")
    assert f"failed to join IPC namespace: container {donor} is not running" in docker.fails("start", "guest")
