"""Snapshots mounted with overlayfs: what a container sees of layers, init layer and its own."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from harness.images import Image, docker_archive, entry, layer
from lightship.engine.errors import AlreadyExists, NotFound
from lightship.engine.images.images import Images

from .conftest import Opened, leftovers, loaded


def seen(mounts: list[dict[str, Any]], at: Path, script: str) -> str:
    """Mount a snapshot in a mount namespace of its own and run a shell script in it, at `at`."""
    (overlay,) = mounts
    base = str(Path(overlay["upper"]).parent.parent)
    options = ",".join(
        [
            *overlay["options"],
            "lowerdir=" + ":".join(os.path.relpath(path, base) for path in overlay["lower"]),
            "upperdir=" + os.path.relpath(overlay["upper"], base),
            "workdir=" + os.path.relpath(overlay["work"], base),
        ]
    )
    at.mkdir(exist_ok=True)
    command = f"mount -t overlay overlay -o '{options}' {at} && cd {at} && {script}"
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", command], cwd=base, check=True, capture_output=True, text=True
    ).stdout


def test_128_layers(opened: Opened[None], tmp_path: Path) -> None:
    layers = [layer(entry(f"file{number}", b"%d" % number), entry("last", b"%d" % number)) for number in range(128)]

    async def work(images: Images) -> None:
        await loaded(images, docker_archive([Image(["deep:1"], layers)]))
        await images.snapshotter.prepare("c", images.get_image("deep:1").diff_ids)
        mounts = images.snapshotter.mounts("c")
        assert len(mounts[0]["lower"]) == 129
        output = await asyncio.to_thread(seen, mounts, tmp_path / "mnt", "cat last file0 file127; ls | grep -c file")
        assert output == "1270127128\n"
        await images.snapshotter.remove("c")

    opened(work)


def test_whiteouts_and_opaque_directories_hide_what_is_below(opened: Opened[None], tmp_path: Path) -> None:
    below = layer(
        entry("etc", mode=0o755), entry("etc/gone", b"x"), entry("etc/kept", b"x"),
        entry("var", mode=0o755), entry("var/old", b"x"), entry("data", mode=0o755), entry("data/old", b"x"),
    )  # fmt: skip
    above = layer(
        entry("etc/.wh.gone", b""), entry("var", mode=0o755), entry("var/.wh..wh..opq", b""), entry("var/new", b"x"),
        entry(".wh.data", b""), entry("data", mode=0o755), entry("data/new", b"x"),
    )  # fmt: skip

    async def work(images: Images) -> None:
        await loaded(images, docker_archive([Image(["a:1"], [below, above])]))
        await images.snapshotter.prepare("c", images.get_image("a:1").diff_ids, with_init=False)
        output = await asyncio.to_thread(seen, images.snapshotter.mounts("c"), tmp_path / "mnt", "find . | sort")
        assert output.split() == [".", "./data", "./data/new", "./etc", "./etc/kept", "./var", "./var/new"]
        await images.snapshotter.remove("c")

    opened(work)


def test_the_init_layer(opened: Opened[None], tmp_path: Path) -> None:
    plain = layer(
        entry("etc", mode=0o751, uid=7, gid=8), entry("etc/hosts", b"the image's"), entry("etc/passwd", b"kept"),
        entry("proc", kind=tarfile.SYMTYPE, link="/etc"), entry("dev", mode=0o700), entry("sys", mode=0o555),
    )  # fmt: skip

    async def work(images: Images) -> None:
        await loaded(images, docker_archive([Image(["a:1"], [plain]), Image(["b:1"], [plain, layer(entry("x", b""))])]))
        for key, name in (("c1", "a:1"), ("c2", "a:1"), ("c3", "b:1")):
            await images.snapshotter.prepare(key, images.get_image(name).diff_ids)
        inits = {images.snapshotter.mounts(key)[0]["lower"][0] for key in ("c1", "c2", "c3")}
        assert len(inits) == 1, "images that agree share one init layer"
        names = "etc dev proc sys dev/pts dev/shm .dockerenv etc/hosts etc/mtab"
        script = f"stat -c '%n %F %a %u %g' {names}; cat etc/hosts etc/passwd; readlink etc/mtab"
        output = await asyncio.to_thread(seen, images.snapshotter.mounts("c1"), tmp_path / "mnt", script)
        assert output.splitlines() == [
            "etc directory 751 7 8", "dev directory 700 0 0", "proc directory 755 0 0", "sys directory 555 0 0",
            "dev/pts directory 755 0 0", "dev/shm directory 755 0 0", ".dockerenv regular empty file 755 0 0",
            "etc/hosts regular empty file 755 0 0", "etc/mtab symbolic link 777 0 0", "kept/proc/mounts",
        ]  # fmt: skip
        assert os.listdir(images.snapshotter.upper_path("c1")) == [], "a container's own layer starts empty"
        for key in ("c1", "c2", "c3"):
            await images.snapshotter.remove(key)

    opened(work)


def test_an_image_without_layers_can_be_written_to(opened: Opened[None], tmp_path: Path) -> None:
    async def work(images: Images) -> None:
        await images.snapshotter.prepare("c", [], with_init=False)
        output = await asyncio.to_thread(
            seen, images.snapshotter.mounts("c"), tmp_path / "mnt", "echo hi > new; stat -c %a .; ls"
        )
        assert output == "755\nnew\n"
        assert await images.snapshotter.usage("c") == 3
        await images.snapshotter.remove("c")

    opened(work)


def test_keys(opened: Opened[None]) -> None:
    async def work(images: Images) -> None:
        snapshotter = images.snapshotter
        with pytest.raises(NotFound, match="layer .* does not exist"):
            await snapshotter.prepare("c", ["sha256:" + "a" * 64])
        await snapshotter.prepare("c", [])
        with pytest.raises(AlreadyExists):
            await snapshotter.prepare("c", [])
        await snapshotter.remove("c")
        await snapshotter.remove("c")
        with pytest.raises(NotFound):
            snapshotter.mounts("c")

    opened(work)


def test_snapshots_outlive_the_daemon_and_half_made_ones_do_not(opened: Opened[None], root: Path) -> None:
    async def first(images: Images) -> None:
        await loaded(images, docker_archive([Image(["a:1"], [layer(entry("file", b"x"))])]))
        await images.snapshotter.prepare("c", images.get_image("a:1").diff_ids)
        (images.snapshotter.upper_path("c") / "written").write_text("x")
        (images.snapshotter.unpack_path(images.snapshotter.new_layer()) / "half").write_text("x")

    async def second(images: Images) -> None:
        assert (images.snapshotter.upper_path("c") / "written").exists()
        assert not list((root / "snapshots").rglob("half"))
        await images.remove("a:1", force=True)
        assert images.snapshotter.layers(), "the container still stands on it"
        await images.snapshotter.remove("c")
        assert not images.snapshotter.layers()

    opened(first)
    opened(second)
    assert [path for path in leftovers(root) if "etc" not in path and "dev" not in path and ".docker" not in path] == []


def test_modes_of_snapshot_directories_do_not_hang_on_the_umask(opened: Opened[None], root: Path) -> None:
    before = os.umask(0o077)
    try:

        async def work(images: Images) -> None:
            await images.snapshotter.prepare("c", [])
            assert stat.S_IMODE(images.snapshotter.upper_path("c").stat().st_mode) == 0o755
            init = Path(images.snapshotter.mounts("c")[0]["lower"][0])
            assert stat.S_IMODE((init / "etc/hosts").stat().st_mode) == 0o755
            await images.snapshotter.remove("c")

        opened(work)
    finally:
        os.umask(before)
