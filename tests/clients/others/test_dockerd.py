"""Archives exchanged with a real dockerd."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.docker import Docker
from harness.engine import Dockerd, Engine
from harness.images import Image, docker_archive, entry, layer

NAME = "exchanged:1"
IMAGE = Image(
    [NAME],
    [
        layer(entry("etc", mode=0o750), entry("etc/old", b"x"), entry("bin/su", b"x" * 9, mode=0o4755)),
        layer(entry("etc/.wh.old", b""), entry("new", b"y", xattrs={"user.note": "hi"})),
    ],
    {"Labels": {"a": "b"}},
)


@pytest.fixture
def dockerd(engine: Engine) -> Iterator[Docker]:
    other = Dockerd()
    try:
        other.start()
        yield other.docker
    finally:
        other.destroy()


def documents(archive: Path) -> dict[str, object]:
    with tarfile.open(archive) as tar:
        names = ("manifest.json", "index.json", "repositories")
        found = {name: tar.extractfile(name) for name in names}
        return {name: json.load(file) for name, file in found.items() if file is not None}


def test_there_and_back(docker: Docker, dockerd: Docker, tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs.tar", tmp_path / "ours.tar"
    dockerd.ok("load", stdin=docker_archive([IMAGE]))
    dockerd.ok("save", "-o", str(theirs), NAME)
    size = dockerd.ok("inspect", "-f", "{{.Size}}", IMAGE.id)
    dockerd.ok("rmi", NAME)
    docker.ok("load", "-i", str(theirs))
    docker.ok("save", "-o", str(ours), NAME)
    assert documents(ours) == documents(theirs)
    assert docker.ok("inspect", "-f", "{{.Size}}", IMAGE.id) == size
    dockerd.ok("load", "-i", str(ours))
    assert dockerd.ok("inspect", "-f", "{{.Id}}", NAME) == IMAGE.id
