"""Storage drivers: whatever makes a container's root, it shows the same files, and the same changes become a layer."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.images import Image, docker_archive, entry, layer
from lightship.engine.containers.fileworker import diff
from lightship.engine.errors import Internal
from lightship.engine.images.images import Images
from lightship.engine.runtime import rootfs
from lightship.engine.snapshots import room
from lightship.engine.snapshots.difference import Difference
from lightship.engine.snapshots.drivers import DRIVERS, Driver, choose
from lightship.engine.store import Store

from .conftest import Opened, leftovers, loaded

BELOW = layer(
    entry("etc", mode=0o755), entry("etc/gone", b"x"), entry("etc/kept", b"kept", mode=0o640, uid=7, gid=8),
    entry("var", mode=0o751), entry("var/old", b"x"), entry("data", mode=0o755), entry("data/old", b"x"),
    entry("file", mode=0o755), entry("file/inner", b"x"),
    entry("one", b"same"), entry("var/two", kind=tarfile.LNKTYPE, link="one"),
    entry("marked", b"x", xattrs={"user.colour": "blue"}), entry("setuid", b"x", mode=0o4755, uid=7),
    entry("null", kind=tarfile.CHRTYPE, device=(1, 3), mode=0o666), entry("pipe", kind=tarfile.FIFOTYPE),
    entry("link", kind=tarfile.SYMTYPE, link="/etc/kept"),
)  # fmt: skip
ABOVE = layer(
    entry("etc/.wh.gone", b""), entry("var", mode=0o751), entry("var/.wh..wh..opq", b""), entry("var/new", b"x"),
    entry(".wh.data", b""), entry("data", mode=0o755), entry("data/new", b"x"), entry("file", b"is one now"),
)  # fmt: skip
READ_COLOUR = f'{sys.executable} -c \'import os; print(os.getxattr("marked", "user.colour").decode())\''
SET_COLOUR = f'{sys.executable} -c \'import os; os.setxattr("marked", "user.colour", b"red")\''


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Driver:
    found = DRIVERS[request.param]
    (tmp_path / "tried").mkdir()
    try:
        found.take(tmp_path / "tried")
    except Internal as error:
        pytest.skip(str(error))
    return found


async def prepared(images: Images, driver: Driver) -> None:
    """Load the image of both layers, and make a snapshot `c` of it."""
    images.snapshotter.driver = driver
    await loaded(images, docker_archive([Image(["a:1"], [BELOW, ABOVE])]))
    await images.snapshotter.prepare("c", images.get_image("a:1").diff_ids, with_init=False)


def run(images: Images, script: str, key: str = "c") -> str:
    """Run a shell script in the root that a snapshot's mounts make."""
    (mount_fd,) = rootfs.open_mounts(images.snapshotter.mounts(key))
    try:
        root_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=mount_fd)
    finally:
        os.close(mount_fd)
    try:
        command = ["sh", "-ec", f"cd /proc/self/fd/{root_fd}; {script}"]
        return subprocess.run(command, check=True, capture_output=True, text=True, pass_fds=(root_fd,)).stdout
    finally:
        os.close(root_fd)


def test_the_tree_of_layers(opened: Opened[None], driver: Driver) -> None:
    async def work(images: Images) -> None:
        await prepared(images, driver)
        assert run(images, "find . | sort").split() == [
            ".", "./data", "./data/new", "./etc", "./etc/kept", "./file", "./link", "./marked", "./null", "./one",
            "./pipe", "./setuid", "./var", "./var/new",
        ]  # fmt: skip
        names = "var etc/kept setuid null pipe link"
        assert run(images, f"stat -c '%n %a %u %g %Y %t:%T %F' {names}").splitlines() == [
            "var 751 0 0 1700000000 0:0 directory", "etc/kept 640 7 8 1700000000 0:0 regular file",
            "setuid 4755 7 0 1700000000 0:0 regular file", "null 666 0 0 1700000000 1:3 character special file",
            "pipe 644 0 0 1700000000 0:0 fifo", "link 777 0 0 1700000000 0:0 symbolic link",
        ]  # fmt: skip
        assert run(images, f"cat file; readlink link; {READ_COLOUR}").splitlines() == [
            "is one now/etc/kept", "blue"
        ]  # fmt: skip
        assert await images.snapshotter.usage("c") == 0
        await images.snapshotter.remove("c")

    opened(work)


def test_names_of_one_file(opened: Opened[None], driver: Driver) -> None:
    async def work(images: Images) -> None:
        images.snapshotter.driver = driver
        await loaded(images, docker_archive([Image(["a:1"], [BELOW])]))
        await images.snapshotter.prepare("c", images.get_image("a:1").diff_ids, with_init=False)
        assert run(images, "test one -ef var/two && cat one") == "same"
        await images.snapshotter.remove("c")

    opened(work)


CHANGE = f"""
echo changed > etc/kept; rm one; mkdir added; echo x > added/file; ln added/file added/again; mkdir -p empty/inside
rm -r data; mkdir data; echo x > data/newer; rm file; mkdir file; echo x > file/inner; chmod 700 var
ln setuid same; mknod device c 1 5; ln -s nowhere dangling; {SET_COLOUR}
chown 7 link -h; touch var/new; mv null moved
"""
CHANGED = {
    "added", "added/again", "added/file", "dangling", "data", "data/newer", "device", "empty", "empty/inside", "etc",
    "etc/kept", "file", "file/inner", "link", "marked", "moved", "same", "setuid", "var", "var/new", ".wh.null",
    ".wh.one",
}  # fmt: skip


async def layer_of(images: Images, key: str, path: Path) -> dict[str, tarfile.TarInfo]:
    async with images.snapshotter.changed(key) as directory:
        diff(str(directory), str(path))
    with tarfile.open(path) as archive:
        return {member.name: member for member in archive}


def test_changes_become_a_layer(opened: Opened[None], driver: Driver, tmp_path: Path) -> None:
    async def work(images: Images) -> None:
        await prepared(images, driver)
        run(images, CHANGE)
        found = await layer_of(images, "c", tmp_path / "layer.tar")
        # How it is said that nothing of a directory's former content is left may differ
        opaque = {name for name in found if name.endswith("/.wh..wh..opq")}
        hiding = opaque | (found.keys() & {"data/.wh.new"})
        assert opaque <= {f"{name}/.wh..wh..opq" for name in ("added", "data", "empty", "empty/inside", "file")}
        assert ("data/.wh.new" in found) != ("data/.wh..wh..opq" in found)
        assert set(found) - hiding == CHANGED
        assert found["added/file"].islnk() != found["added/again"].islnk()
        assert found["same"].islnk() != found["setuid"].islnk()
        assert stat.S_IMODE(found["var"].mode) == 0o700 and found["link"].uid == 7
        assert found["marked"].pax_headers["SCHILY.xattr.user.colour"] == "red"
        assert not any("overlay" in key for member in found.values() for key in member.pax_headers)
        await loaded(images, docker_archive([Image(["b:1"], [BELOW, ABOVE, (tmp_path / "layer.tar").read_bytes()])]))
        await images.snapshotter.prepare("d", images.get_image("b:1").diff_ids, with_init=False)
        script = "find . ! -name . -printf '%p %y %m %U %s\\n' | grep -v ' d ' | sort; find . -type d | sort"
        assert run(images, script, "d") == run(images, script)
        assert await layer_of(images, "d", tmp_path / "nothing.tar") == {}
        for key in "cd":
            await images.snapshotter.remove(key)

    opened(work)


def test_what_was_changed_has_a_size(opened: Opened[None], driver: Driver) -> None:
    async def work(images: Images) -> None:
        await prepared(images, driver)
        run(images, "rm one; head -c 1000 /dev/zero > new; ln new again; mkdir d; printf abc > d/file")
        assert await images.snapshotter.usage("c") == 1003
        await images.snapshotter.remove("c")

    opened(work)


def test_a_snapshot_becomes_a_layer_in_its_place(opened: Opened[None], driver: Driver) -> None:
    async def work(images: Images) -> None:
        snapshotter = images.snapshotter
        await prepared(images, driver)
        run(images, CHANGE)
        shown = run(images, "find . -type f -printf '%p %m %U %s %n\\n' | sort; find . ! -type f | sort")
        size = await snapshotter.settle("c", await snapshotter.usage("c"))
        snapshotter.keep("c", name="made", size=size)
        assert not snapshotter.has("c") and snapshotter.layers()["made"].size == size
        await snapshotter.prepare("d", [*images.get_image("a:1").diff_ids, "made"], with_init=False)
        assert run(images, "find . -type f -printf '%p %m %U %s %n\\n' | sort; find . ! -type f | sort", "d") == shown
        await snapshotter.remove("d")
        await snapshotter.remove_layers(["made"])

    opened(work)


def test_snapshots_keep_their_driver_and_leave_nothing(opened: Opened[None], driver: Driver, root: Path) -> None:
    async def first(images: Images) -> None:
        await prepared(images, driver)
        run(images, "echo mine > new; mkdir data/deep; chmod 000 data/deep")

    async def second(images: Images) -> None:
        assert images.snapshotter.driver_of("c") is driver
        assert run(images, "cat new etc/kept") == "mine\nkept"
        await images.remove("a:1", force=True)
        await images.snapshotter.remove("c")

    opened(first)
    opened(second)
    assert leftovers(root) == []


def test_a_copy_that_fails_is_taken_back(opened: Opened[None], root: Path) -> None:
    async def work(images: Images) -> None:
        images.snapshotter.driver = DRIVERS["vfs"]
        await loaded(images, docker_archive([Image(["a:1"], [BELOW])]))
        (diff_id,) = images.get_image("a:1").diff_ids
        before = set(os.listdir(root / "snapshots"))
        hidden = images.snapshotter.layer_path(diff_id).rename(root / "hidden")
        with pytest.raises(Internal, match="no such file or directory"):
            await images.snapshotter.prepare("c", [diff_id], with_init=False)
        hidden.rename(images.snapshotter.layer_path(diff_id))
        assert not images.snapshotter.has("c") and set(os.listdir(root / "snapshots")) == before

    opened(work)


def test_links_lead_nowhere_while_a_copy_is_compared(tmp_path: Path) -> None:
    """A container that puts a link to the host in the place of a directory gets nothing of the host into its image."""
    for name in ("tree", "below/etc", "host", "out"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "below/etc/kept").write_text("x")
    (tmp_path / "host/secret").write_text("x")
    (tmp_path / "tree/etc").symlink_to(tmp_path / "host")
    found = Difference(str(tmp_path / "tree"), [str(tmp_path / "below")], str(tmp_path / "out"))
    assert found.changes == [("/etc", 0)]
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["etc"] and (tmp_path / "out/etc").is_symlink()


@pytest.fixture
def overlay(tmp_path: Path, isolated: None) -> Iterator[Path]:
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    paths = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    merged = tmp_path / "merged"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", paths, str(merged)], check=True)
    yield merged
    # Lazily: a program that was tried there may take a moment to end
    subprocess.run(["umount", "-l", str(merged)], check=True)


@pytest.fixture
def without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file systems in files here: there is no mkfs."""

    def refused(*command: str) -> None:
        raise FileNotFoundError(2, "No such file or directory", command[0])

    monkeypatch.setattr(room, "_run", refused)


class TestOnAnOverlay:
    @pytest.fixture
    def root(self, overlay: Path) -> Path:
        return overlay / "data"

    def test_copies_do(self, opened: Opened[None], root: Path, tmp_path: Path, without_room: None) -> None:
        vfs = choose(root / "snapshots", asked="", prior=())
        assert vfs.name == "vfs"

        async def work(images: Images) -> None:
            await prepared(images, vfs)
            assert run(images, "ls -1 etc var data").split() == ["data:", "new", "etc:", "kept", "var:", "new"]
            run(images, CHANGE)
            found = await layer_of(images, "c", tmp_path / "layer.tar")
            assert set(found) == CHANGED | {"data/.wh.new"}
            await images.snapshotter.remove("c")

        opened(work)


def test_the_best_that_works_is_chosen(tmp_path: Path) -> None:
    assert choose(tmp_path / "snapshots", asked="", prior=()).name == "overlay2"
    assert choose(tmp_path / "snapshots", asked="", prior=["vfs"]).name == "overlay2", "copies are no reason to stay"
    assert choose(tmp_path / "snapshots", asked="vfs", prior=["overlay2"]).name == "vfs"


def test_containers_keep_a_daemon_to_their_driver(overlay: Path, without_room: None) -> None:
    with pytest.raises(Internal, match="error initializing graphdriver: .*prior storage driver overlay2 failed: "):
        choose(overlay / "snapshots", asked="", prior=["overlay2"])
    with pytest.raises(Internal, match="driver not supported: overlay2: .*its file system cannot hold layers"):
        choose(overlay / "snapshots", asked="overlay2", prior=())


def test_no_file_system_is_put_over_layers_that_are_there(overlay: Path) -> None:
    (overlay / "snapshots/1/fs").mkdir(parents=True)
    assert choose(overlay / "snapshots", asked="", prior=()).name == "vfs"
    assert (overlay / "snapshots/1/fs").exists()


@pytest.mark.parametrize("name", ["aufs", "devicemapper", "overlay"])
def test_drivers_that_docker_had(name: str, tmp_path: Path) -> None:
    with pytest.raises(Internal) as caught:
        choose(tmp_path, asked=name, prior=())
    assert str(caught.value) == (
        f"error initializing graphdriver: [graphdriver] ERROR: the {name} storage-driver has been deprecated and "
        f"removed; visit https://docs.docker.com/go/storage-driver/ for more information: {name}"
    )


@pytest.mark.parametrize("name", ["foo", "zfs", "btrfs"])
def test_unknown_drivers(name: str, tmp_path: Path) -> None:
    with pytest.raises(Internal, match=f"^error initializing graphdriver: driver not supported: {name}$"):
        choose(tmp_path, asked=name, prior=())


def test_records_of_before_there_was_a_choice(tmp_path: Path) -> None:
    from lightship.engine.snapshots.snapshotter import Snapshot, prior_drivers

    store = Store(tmp_path / "lightship.db")
    try:
        assert prior_drivers(store) == set()
        store.table("snapshots", Snapshot).put("c", Snapshot(1, [], None))
        assert prior_drivers(store) == {"overlay2"}
    finally:
        store.close()
