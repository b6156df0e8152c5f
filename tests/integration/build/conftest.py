"""An engine of its own in this process for each test of the builder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import images
from harness.builds import Machine


@pytest.fixture(scope="session")
def archive(busybox_layer: bytes) -> bytes:
    return images.docker_archive([images.Image(["busybox:latest"], [busybox_layer])])


@pytest.fixture
def machine(archive: bytes) -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="lsb", dir="/tmp") as folder:  # paths of sockets are short
        made = Machine(Path(folder), archive)
        yield made
        made.close()
