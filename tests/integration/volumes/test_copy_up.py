"""Copy-up with real overlays: layers are directories made here, mounted as the snapshotter says."""

from __future__ import annotations

import asyncio
import gc
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lightship.engine.errors import InvalidArgument
from lightship.engine.events import Events
from lightship.engine.store import Store
from lightship.engine.volumes.copyup import copy_up
from lightship.engine.volumes.record import VolumeSource
from lightship.engine.volumes.volumes import Volumes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

# struct vfs_cap_data of version 2 with cap_net_raw effective and permitted.
CAP_NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")
Root = list[dict[str, Any]]


@pytest.fixture
def layers(tmp_path: Path) -> tuple[Path, Path]:
    """A base layer and one above it, as an image has them."""
    base, top = tmp_path / "base", tmp_path / "top"
    (base / "data/deep").mkdir(parents=True)
    (base / "data/base").write_text("from base")
    (base / "data/gone").write_text("hidden by the layer above")
    (base / "data/deep/secret").write_text("s")
    (base / "data/deep/secret").chmod(0o4640)
    (base / "var").mkdir()
    (base / "var/run").symlink_to("/data")
    (base / "escape").symlink_to("../../../../etc")
    (base / "etc").mkdir()
    (base / "etc/passwd").write_text("image's own")
    (top / "data").mkdir(parents=True)
    (top / "data/top").write_text("from top")
    os.mknod(top / "data/gone", stat.S_IFCHR, 0)
    for path in (base / "data", top / "data"):
        os.chown(path, 1000, 50)
        path.chmod(0o1750)
    os.setxattr(base / "data/base", "user.colour", b"blue")
    os.chown(base / "data/base", 3, 4)
    os.setxattr(base / "data/base", "security.capability", CAP_NET_RAW)
    os.utime(base / "data/base", ns=(1, 1_000_000_007))
    return top, base


@pytest.fixture
def root(tmp_path: Path, layers: tuple[Path, Path]) -> Root:
    """What Snapshotter.mounts returns for a new container."""
    upper, work = tmp_path / "upper", tmp_path / "work"
    upper.mkdir()
    work.mkdir()
    return [
        {
            "type": "overlay",
            "source": "overlay",
            "lower": [str(layer) for layer in layers],
            "upper": str(upper),
            "work": str(work),
            "options": ["index=off"],
        }
    ]


@pytest.fixture
def volume(tmp_path: Path) -> VolumeSource:
    data = tmp_path / "volume"
    data.mkdir()
    return VolumeSource(name="v1", driver="local", path=str(data))


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """No mount and no descriptor outlives a copy."""
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_content_of_all_layers_with_owners_modes_times_and_attributes(root: Root, volume: VolumeSource) -> None:
    copy_up(root, "/data", volume, image_volume=False)
    data = Path(volume.path)
    assert sorted(path.name for path in data.iterdir()) == ["base", "deep", "top"]
    assert (data / "base").read_text() == "from base"
    assert os.getxattr(data / "base", "user.colour") == b"blue"
    assert os.getxattr(data / "base", "security.capability") == CAP_NET_RAW
    assert ((data / "base").stat().st_uid, (data / "base").stat().st_gid) == (3, 4)
    assert (data / "base").stat().st_mtime_ns == 1_000_000_007
    assert stat.S_IMODE((data / "deep/secret").stat().st_mode) == 0o4640
    info = data.stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (1000, 50, 0o1750)


def test_links_of_the_image_are_followed_inside_it(root: Root, volume: VolumeSource) -> None:
    copy_up(root, "/var/run", volume, image_volume=False)
    assert (Path(volume.path) / "top").read_text() == "from top"


def test_links_do_not_lead_to_the_host(root: Root, volume: VolumeSource) -> None:
    copy_up(root, "/escape", volume, image_volume=False)
    assert {path.name for path in Path(volume.path).iterdir()} == {"passwd"}
    assert (Path(volume.path) / "passwd").read_text() == "image's own"


def test_volume_with_content_is_left_alone(root: Root, volume: VolumeSource) -> None:
    (Path(volume.path) / "mine").write_text("x")
    before = Path(volume.path).stat()
    copy_up(root, "/data", volume, image_volume=False)
    assert os.listdir(volume.path) == ["mine"]
    assert Path(volume.path).stat().st_mode == before.st_mode


@pytest.mark.parametrize("destination", ["/nothing/here", "/etc/passwd/below"])
def test_path_that_is_not_in_the_image(root: Root, volume: VolumeSource, destination: str) -> None:
    copy_up(root, destination, volume, image_volume=True)
    assert os.listdir(volume.path) == []


def test_image_volume_over_a_file_is_refused(root: Root, volume: VolumeSource) -> None:
    with pytest.raises(InvalidArgument, match="^cannot mount volume over existing file, file exists /etc/passwd$"):
        copy_up(root, "/etc/passwd", volume, image_volume=True)
    copy_up(root, "/etc/passwd", volume, image_volume=False)
    assert os.listdir(volume.path) == []


def test_empty_directory_still_gives_its_owner(root: Root, layers: tuple[Path, Path], volume: VolumeSource) -> None:
    (layers[1] / "empty").mkdir()
    os.chown(layers[1] / "empty", 7, 8)
    copy_up(root, "/empty", volume, image_volume=False)
    assert (Path(volume.path).stat().st_uid, Path(volume.path).stat().st_gid) == (7, 8)


def test_image_of_one_layer_and_of_none(layers: tuple[Path, Path], volume: VolumeSource, tmp_path: Path) -> None:
    only = [{"type": "overlay", "lower": [], "upper": str(layers[1]), "work": str(tmp_path), "options": []}]
    copy_up(only, "/data", volume, image_volume=False)
    assert (Path(volume.path) / "gone").exists()


def test_subpath_stays_in_the_volume(root: Root, volume: VolumeSource, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    inside = Path(volume.path) / "sub"
    inside.mkdir()
    (Path(volume.path) / "link").symlink_to(outside)
    copy_up(root, "/data", volume, subpath="link", image_volume=False)
    assert os.listdir(outside) == []
    copy_up(root, "/data", volume, subpath="sub", image_volume=False)
    assert (inside / "top").exists()


def test_volume_whose_device_is_a_directory(root: Root, volume: VolumeSource, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    bound = VolumeSource(
        name="v1", driver="local", path=volume.path, filesystem="none", device=str(elsewhere), options=("bind",)
    )
    copy_up(root, "/data", bound, image_volume=False)
    assert (elsewhere / "top").exists()
    assert os.listdir(volume.path) == []


def test_device_that_cannot_be_mounted(root: Root, volume: VolumeSource) -> None:
    broken = VolumeSource(
        name="v1", driver="local", path=volume.path, filesystem="nope", device="x", options=("size=1", "password=y")
    )
    copy_up(root, "/not/in/the/image", broken, image_volume=False)
    with pytest.raises(InvalidArgument) as raised:
        copy_up(root, "/data", broken, image_volume=False)
    assert str(raised.value) == (
        f"failed to populate volume: error while mounting volume '{volume.path}': failed to mount local volume: "
        f"mount x:{volume.path}, data: size=1,password=********: no such device"
    )


def test_two_containers_share_the_first_copy(root: Root, tmp_path: Path) -> None:
    async def both() -> None:
        volumes = Volumes(store, Events(), tmp_path / "volumes")
        volumes.load()
        volume = await volumes.acquire("shared", "c1")
        copies = (volumes.copy_up("shared", root, "/data", container_id="c1") for _ in range(4))
        await asyncio.gather(*copies)
        assert sorted(os.listdir(volume.path)) == ["base", "deep", "top"]

    store = Store(tmp_path / "db")
    asyncio.run(both())
    store.close()
