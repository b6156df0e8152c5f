"""A disk that is full: a clear error, all that was half-written removed, and room for what fits."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.images import Image, docker_archive, entry, layer
from lightship.engine.errors import Error
from lightship.engine.images.images import Images

from .conftest import Opened, leftovers, loaded, pieces

BIG = random.Random(2).randbytes(5 << 20)
WHAT_DOES_NOT_FIT = {
    "arriving": layer(entry("big", BIG)),
    "unpacked": layer(*(entry(f"{number}", BIG[: 1 << 19]) for number in range(5))),
    "many files": layer(*(entry(f"{number}", b"") for number in range(3000))),
}


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "data"
    root.mkdir()
    options = "size=4m,nr_inodes=1500"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(root)]).returncode:
        pytest.skip("cannot mount")
    yield root
    subprocess.run(["umount", "-l", str(root)], check=True)


@pytest.mark.parametrize("what", WHAT_DOES_NOT_FIT)
@pytest.mark.parametrize("verb", ["load", "import"])
def test_what_does_not_fit(opened: Opened[None], root: Path, verb: str, what: str) -> None:
    data = WHAT_DOES_NOT_FIT[what]

    async def work(images: Images) -> None:
        with pytest.raises(Error, match="no space left on device"):
            if verb == "load":
                await loaded(images, docker_archive([Image(["big:1"], [data])]))
            else:
                async for _ in images.import_image(pieces(data), repo="big"):
                    pass
        assert images.count() == 0
        assert leftovers(root) == []
        await loaded(images, docker_archive([Image(["small:1"], [layer(entry("f", b"x" * 1000))])]))
        await images.remove("small:1")

    opened(work)
    assert leftovers(root) == []
