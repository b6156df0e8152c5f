"""testcontainers for Python, and its reaper: a container with the engine's socket that clears up after its client."""

from __future__ import annotations

from harness import images
from harness.docker import Docker
from harness.engine import Engine
from harness.waiting import wait_for

from .conftest import Script

REAPER = """#!/bin/sh
# What Ryuk does: filters by lines, each acknowledged; when the connection ends, what they name is removed.
filters=
while read -r line; do filters="$filters --filter $(echo "$line" | tr -d '\\r')"; echo ACK; done
found=$(docker ps -aq $filters)
[ -z "$found" ] || docker rm -fv $found
"""

PROGRAM = """
import urllib.request
from testcontainers.core.container import DockerContainer
from testcontainers.core.waiting_utils import wait_for_logs

container = DockerContainer("busybox").with_command("sh -c 'echo serving; exec httpd -f -p 80 -h /etc'")
with container.with_exposed_ports(80).with_env("A", "b") as web:
    wait_for_logs(web, "serving")
    url = f"http://{web.get_container_host_ip()}:{web.get_exposed_port(80)}/group"
    print(urllib.request.urlopen(url).read().decode().splitlines()[0])
    print(web.exec(["sh", "-c", "echo $A"]).output.decode().strip())
left = DockerContainer("busybox").with_command("sleep 1000").start()
print("left", left.get_wrapped_container().id)
"""


def test_containers_with_and_without_the_reaper(
    engine: Engine, docker: Docker, docker_in_image: str, busybox_layer: bytes, python: Script
) -> None:
    script = images.layer(images.entry("reap", REAPER.encode(), mode=0o755))
    server = "echo Started!; exec nc -ll -p 8080 -e /reap"
    reaper = images.Image(
        ["reaper:1"],
        [busybox_layer, images.program_layer(docker.cli, "usr/bin/docker"), script],
        {"Cmd": ["sh", "-c", server], "Env": [images.PATH, "HOME=/tmp"]},
    )
    docker.ok("load", stdin=images.docker_archive([reaper]))
    out = python(PROGRAM, RYUK_CONTAINER_IMAGE="reaper:1", TC_POOLING_INTERVAL="0.2").splitlines()
    assert out[:2] == ["root:x:0:", "b"] and out[2].startswith("left ")
    # The program stops its reaper at its end; what is left is for another one to clear away
    assert docker.ok("ps", "-q", "--no-trunc") == out[2].removeprefix("left ")


def test_the_reaper_removes_what_a_client_left(engine: Engine, docker: Docker, docker_in_image: str) -> None:
    container = docker.ok("run", "-d", "--init", "--label", "session=1", "busybox", "sleep", "1000")
    other = docker.ok("run", "-d", "--init", "--label", "session=2", "busybox", "sleep", "1000")
    socket = f"{engine.socket}:/var/run/docker.sock"
    with docker.background(
        "run", "-i", "--rm", "-v", socket, "--entrypoint", "sh", docker_in_image, "-c", REAPER.partition("\n")[2]
    ) as client:
        assert client.stdin is not None and client.stdout is not None
        client.stdin.write(b"label=session=1\r\n")
        client.stdin.flush()
        assert client.stdout.readline() == b"ACK\n"
        client.stdin.close()
        assert client.wait(60) == 0
    wait_for(lambda: docker.ok("ps", "-q", "--no-trunc") == other)
    assert docker("inspect", container).code == 1
