"""Archives exchanged with a real dockerd, where one is named by LIGHTSHIP_REAL_DOCKER_HOST."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile

import pytest
from harness.images import Image, docker_archive, entry, layer
from lightship.engine.images.images import Images

from .conftest import Opened, loaded, saved

HOST = os.environ.get("LIGHTSHIP_REAL_DOCKER_HOST")
pytestmark = pytest.mark.skipif(HOST is None, reason="no real dockerd was named")
IMAGE = Image(
    ["imgtest-exchange:1"],
    [
        layer(entry("etc", mode=0o750), entry("etc/old", b"x"), entry("bin/su", b"x" * 9, mode=0o4755)),
        layer(entry("etc/.wh.old", b""), entry("new", b"y", xattrs={"user.note": "hi"})),
    ],
    {"Labels": {"a": "b"}},
)  # fmt: skip


def docker(*arguments: str, data: bytes = b"") -> bytes:
    command = ["docker", "--host", str(HOST), *arguments]
    return subprocess.run(command, input=data, check=True, capture_output=True).stdout


def documents(archive: bytes) -> dict[str, object]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        names = ("manifest.json", "index.json", "repositories")
        found = {name: tar.extractfile(name) for name in names}
        return {name: json.load(file) for name, file in found.items() if file is not None}


def test_there_and_back(opened: Opened[None]) -> None:
    async def work(images: Images) -> None:
        try:
            docker("load", data=docker_archive([IMAGE]))
            theirs = docker("save", "imgtest-exchange:1")
            their_size = int(docker("inspect", "--format", "{{.Size}}", IMAGE.id))
            docker("rmi", "imgtest-exchange:1")
            await loaded(images, theirs)
            ours = await saved(images, "imgtest-exchange:1")
            assert documents(ours) == documents(theirs)
            assert (await images.inspect(IMAGE.id)).size == their_size
            docker("load", data=ours)
            assert docker("inspect", "--format", "{{.Id}}", "imgtest-exchange:1").decode().strip() == IMAGE.id
        finally:
            docker("rmi", "-f", "imgtest-exchange:1")

    opened(work)
