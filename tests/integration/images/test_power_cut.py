"""The power goes while images are loaded and removed: what was not on disk by then is gone, in whatever order.

A process works on an ext4 in a file, and is killed; the file system is then shut down without writing anything more,
and mounted anew: what is there is what had reached the disk by then.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lightship.engine.config import RegistryConfig
from lightship.engine.events import Events
from lightship.engine.images import durability
from lightship.engine.images.images import Images
from lightship.engine.images.repair import examine
from lightship.engine.snapshots.snapshotter import Snapshotter
from lightship.engine.store import Store

# <linux/ext4.h>
EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH = 0x8004587D, 2

WORKER = """
import asyncio, random, sys
sys.path[:0] = [{tests!r}, {here!r}]
from harness.images import Image, docker_archive, entry, layer
from lightship.engine.config import RegistryConfig
from lightship.engine.events import Events
from lightship.engine.images.images import Images
from lightship.engine.snapshots.snapshotter import Snapshotter
from lightship.engine.store import Store
from pathlib import Path

async def pieces(data):
    yield data

async def main():
    root, dice = Path({root!r}), random.Random({seed})
    store = Store(root / "lightship.db")
    images = Images(root, store, Events(), Snapshotter(root / "snapshots", store), RegistryConfig())
    await images.start()
    bases = [layer(*(entry(f"{{n}}/{{m}}", dice.randbytes(20_000)) for m in range(20))) for n in range(3)]
    names = []
    for number in range(1000):
        if names and dice.random() < 0.4:
            name = names.pop(dice.randrange(len(names)))
            print("remove", name, flush=True)
            await images.remove(name, force=True)
        else:
            name = f"i{{number}}:1"
            own = layer(*(entry(f"own/{{m}}", dice.randbytes(5_000)) for m in range(20)))
            async for _ in images.load(pieces(docker_archive([Image([name], [dice.choice(bases), own])]))):
                pass
            names.append(name)
        if dice.random() < 0.3:
            await images.durability.close()
            print("safe", *names, flush=True)

asyncio.run(main())
"""


@contextmanager
def mounted(image: Path, where: Path) -> Iterator[Path]:
    where.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(where)], capture_output=True).returncode:
        pytest.skip("cannot mount")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


def worked(root: Path, seed: int) -> set[str]:
    """Work until some moment, and be killed; return the names that were safe then."""
    dice = random.Random(seed)
    here = str(Path(__file__).parent)
    script = WORKER.format(tests=str(Path(__file__).parents[2]), here=here, root=str(root), seed=seed)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    safe: set[str] = set()
    for count, line in enumerate(process.stdout):
        verb, *names = line.split()
        safe = set(names) if verb == "safe" else safe - set(names)
        if count >= dice.randrange(4, 30):
            break
    process.send_signal(signal.SIGKILL)
    for line in process.stdout:
        verb, *names = line.split()
        safe = set(names) if verb == "safe" else safe - set(names)
    process.stdout.close()
    process.wait()
    return safe


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("has_names", [True, False], ids=["names are on disk", "at once"])
def test_no_image_lists_that_is_not_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, has_names: bool
) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(disk)], check=True)
    with mounted(disk, tmp_path / "root") as root:
        safe = worked(root, seed)
        if has_names:
            # A sync of any file brings names to the disk, before the contents that nobody asked to write.
            fd = os.open(root / "marker", os.O_CREAT | os.O_WRONLY)
            os.fsync(fd)
            os.close(fd)
        cut_power(root)
    monkeypatch.setattr(durability, "boot_id", lambda: "after the power cut")
    with mounted(disk, tmp_path / "root") as root:
        asyncio.run(checked(root, safe))


def cut_power(root: Path) -> None:
    """Have the file system stop where it is: nothing that was not written by now will be."""
    fd = os.open(root, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", EXT4_GOING_FLAGS_NOLOGFLUSH))
    finally:
        os.close(fd)


async def checked(root: Path, safe: set[str]) -> None:
    store = Store(root / "lightship.db")
    images = Images(root, store, Events(), Snapshotter(root / "snapshots", store), RegistryConfig())
    images.snapshotter.reconcile()
    try:
        await images.start()
        assert not images.catalog.has_damage
        listed = {tag for image in images.catalog.images() for tag in image.tags}
    finally:
        await images.close()
        store.close()
    assert [finding.text async for finding in examine(root, repair=False)] == []
    assert safe <= listed
