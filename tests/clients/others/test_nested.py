"""An engine inside a container: the engine itself, and real dockerd, started in a privileged container of ours."""

from __future__ import annotations

import sys

import pytest
from harness.docker import Docker
from harness.waiting import wait_for

from .conftest import CACHE

# The image has busybox alone: programs and libraries are the host's
HOST = ("-v", "/usr:/usr:ro", "-v", "/etc/alternatives:/etc/alternatives:ro", "-v", f"{CACHE}/docker:{CACHE}/docker:ro")
PATH = f"PATH={CACHE}/docker/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LIGHTSHIP = ("lightship", f"{sys.prefix}/bin/lightshipd", "--data-root", "/data", "--exec-root", "/run/lightship")
DOCKERD = ("dockerd", f"{CACHE}/docker/bin/dockerd", "--data-root", "/data", "--exec-root", "/run/dockerd")


@pytest.mark.parametrize(("name", "command"), [(LIGHTSHIP[0], LIGHTSHIP[1:]), (DOCKERD[0], DOCKERD[1:])])
def test_an_engine_in_a_container(docker: Docker, base_archive: bytes, name: str, command: tuple[str, ...]) -> None:
    flags = ("--privileged", "--init", "-e", PATH, "-v", "/data", *HOST, "-v", f"{sys.prefix}:{sys.prefix}:ro")
    inner = ("docker", "-H", "unix:///run/docker.sock")
    docker.ok("run", "-d", "--name", name, *flags, "busybox", *command, "--host", "unix:///run/docker.sock")

    def answers() -> bool:
        assert docker.ok("inspect", "-f", "{{.State.Running}}", name) == "true", docker("logs", name)
        return docker("exec", name, *inner, "version").code == 0

    wait_for(answers, timeout_s=60)
    docker.ok("exec", "-i", name, *inner, "load", stdin=base_archive)
    assert docker.ok("exec", name, *inner, "run", "--rm", "busybox", "echo", "from within") == "from within"
    run = ("run", "-d", "--init", "--name", "web", "-p", "8080:80", "-m", "64m", "busybox")
    docker.ok("exec", name, *inner, *run, "httpd", "-f", "-p", "80", "-h", "/etc")
    wait_for(lambda: "root:" in docker("exec", name, "wget", "-qO-", "http://127.0.0.1:8080/group").out)
    assert docker.ok("exec", name, *inner, "exec", "web", "hostname", "-i").startswith("172.")
    docker.ok("exec", name, *inner, "rm", "-f", "web")
    docker.ok("stop", "-t", "20", name)
    docker.ok("rm", "-v", name)
