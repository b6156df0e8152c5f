"""python-on-whales, which drives the CLI."""

from __future__ import annotations

from .conftest import Script

PROGRAM = """
from python_on_whales import docker, DockerException

print(docker.run("busybox", ["echo", "one"], remove=True, envs={"A": "b"}))
with docker.run("busybox", ["sleep", "1000"], detach=True, remove=True, init=True, labels={"of": "whales"}) as box:
    print(docker.execute(box, ["hostname"]) == box.id[:12], box.state.running, [c.id for c in docker.ps()] == [box.id])
    docker.copy((box, "/etc/group"), "group")
    print(open("group").readline().strip())
    print(docker.stats()[0].container_id == box.id, box.config.labels["of"])
network = docker.network.create("whales")
with docker.volume.create("whales") as volume:
    docker.run("busybox", ["touch", "/data/file"], volumes=[(volume, "/data")], remove=True, networks=[network])
    print(docker.run("busybox", ["ls", "/data"], volumes=[(volume, "/data")], remove=True))
network.remove()
try:
    docker.run("busybox", ["sh", "-c", "echo out; exit 3"], remove=True)
except DockerException as error:
    print(error.return_code, error.stdout.strip())
for kind, line in docker.run("busybox", ["sh", "-c", "echo out; echo err >&2"], stream=True, remove=True):
    print(kind, line)
print(docker.image.inspect("busybox").repo_tags, docker.system.info().server_version != "")
"""


def test_the_library(python: Script) -> None:
    lines = python(PROGRAM).splitlines()
    assert lines[:5] == ["one", "True True True", "root:x:0:", "True whales", "file"]
    assert lines[5] == "3 out" and set(lines[6:8]) == {"stdout b'out\\n'", "stderr b'err\\n'"}
    assert lines[8] == "['busybox:latest'] True"
