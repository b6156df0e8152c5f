"""Archives of images in and out: every form, several at once, partial, damaged, cut short, interrupted."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import io
import json
import lzma
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from harness.images import Image, docker_archive, entry, layer, oci_layout, sha256
from lightship.engine.errors import Error
from lightship.engine.filters import Filters
from lightship.engine.images.images import Images

from .conftest import Opened, leftovers, loaded, pieces, saved

BASE = layer(entry("bin", mode=0o755), entry("bin/tool", b"tool" * 1000, mode=0o4755))
TOP = layer(entry("etc", mode=0o755), entry("etc/conf", b"conf"))
ONE = Image(["one:1"], [BASE, TOP])
TWO = Image(["two:1", "two:2"], [BASE])


def members(archive: bytes) -> dict[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for info in tar:
            file = tar.extractfile(info)
            found[info.name] = file.read() if file is not None else b""
    return found


def repacked(archive: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    found = {
        name: data for name, data in members(archive).items() if not name.rstrip("/").endswith(("blobs", "sha256"))
    }
    change(found)
    return layer(*(entry(name, data) for name, data in found.items()))


@pytest.mark.parametrize("make", [docker_archive, oci_layout])
@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize(
    "outer", [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress]
)
def test_every_form_loads(
    opened: Opened[None], make: Callable[..., bytes], inner: bool, outer: Callable[[bytes], bytes]
) -> None:
    archive = outer(make([ONE, TWO], compress=inner))

    async def work(images: Images) -> None:
        messages = await loaded(images, archive)
        assert messages == [
            {"stream": "Loaded image: one:1\n"},
            {"stream": "Loaded image: two:1\n"},
            {"stream": "Loaded image: two:2\n"},
        ]
        image = images.get_image("one:1")
        assert image.id == ONE.id
        tool = images.snapshotter.layer_path(image.diff_ids[0]) / "bin/tool"
        assert (tool.read_bytes(), tool.stat().st_mode & 0o7777) == (b"tool" * 1000, 0o4755)
        assert image.size == 4004
        assert images.get_image("two:2").tags == ["two:1", "two:2"]
        assert len(images.snapshotter.layers()) == 2, "shared layers are kept once"

    opened(work)


def test_progress(opened: Opened[None]) -> None:
    async def work(images: Images) -> None:
        messages = await loaded(images, docker_archive([TWO]), quiet=False)
        size = len(BASE)
        assert messages[-3] == {
            "status": "Loading layer",
            "progressDetail": {"current": size, "total": size},
            "progress": f"[{'=' * 50}>]  {size / 1000:.4g}kB/{size / 1000:.4g}kB",
            "id": sha256(BASE)[:12],
        }
        again = await loaded(images, docker_archive([TWO]), quiet=False)
        assert [list(message) for message in again] == [["stream"], ["stream"]], "known layers are not read again"

    opened(work)


def test_a_saved_image_keeps_its_digests(opened: Opened[None]) -> None:
    archive = oci_layout([ONE], compress=True)

    async def work(images: Images) -> None:
        await loaded(images, archive)
        first = await saved(images, "one:1")
        found = members(first)
        index = json.loads(found["index.json"])
        original = json.loads(members(archive)["index.json"])["manifests"][0]["digest"]
        assert index["manifests"][0]["digest"] == original
        for name, data in found.items():
            if name.startswith("blobs/sha256/"):
                assert sha256(data) == name[13:]
        await images.remove("one:1")
        assert await loaded(images, first) == [{"stream": "Loaded image: one:1\n"}]
        assert await saved(images, "one:1") == first

    opened(work)


def test_the_layout_of_an_archive(opened: Opened[None]) -> None:
    async def work(images: Images) -> None:
        await loaded(images, docker_archive([ONE, TWO]))
        found = members(await saved(images, "one:1", "two"))
        assert sorted(name for name in found if "/" not in name) == [
            "blobs", "index.json", "manifest.json", "oci-layout", "repositories",
        ]  # fmt: skip
        one, two = json.loads(found["manifest.json"])
        assert one["RepoTags"] == ["one:1"] and two["RepoTags"] == ["two:1", "two:2"]
        assert one["Layers"] == [f"blobs/sha256/{sha256(data)}" for data in (BASE, TOP)]
        assert one["LayerSources"][f"sha256:{sha256(TOP)}"]["size"] == len(TOP)
        assert json.loads(found["repositories"]) == {
            "one": {"1": sha256(TOP)}, "two": {"1": sha256(BASE), "2": sha256(BASE)},
        }  # fmt: skip
        assert found["oci-layout"] == b'{"imageLayoutVersion": "1.0.0"}'
        assert found[one["Config"]] == ONE.document()
        by_id = members(await saved(images, ONE.id))
        assert json.loads(by_id["manifest.json"])[0]["RepoTags"] is None
        assert "repositories" not in by_id

    opened(work)


def test_a_partial_archive_needs_its_base_here(opened: Opened[None], root: Path) -> None:
    partial = docker_archive([ONE], without_layers=[sha256(BASE)])

    async def work(images: Images) -> None:
        with pytest.raises(Error, match="layer.tar: no such file or directory"):
            await loaded(images, partial)
        assert leftovers(root) == []
        await loaded(images, docker_archive([TWO], compress=True))
        assert await loaded(images, partial) == [{"stream": "Loaded image: one:1\n"}]
        await images.remove("two:1")
        await images.remove("two:2")
        again = await saved(images, "one:1")
        await images.remove("one:1")
        await loaded(images, again)
        assert images.find_id("one:1") == ONE.id

    opened(work)


@pytest.mark.parametrize("make", [docker_archive, oci_layout])
@pytest.mark.parametrize(("first", "second"), [(False, True), (True, False)])
def test_the_same_image_in_another_compression(
    opened: Opened[None], make: Callable[..., bytes], first: bool, second: bool
) -> None:
    other = Image(["other:1"], [BASE, TOP], {"Labels": {"other": "1"}})

    async def work(images: Images) -> None:
        await loaded(images, make([ONE], compress=first))
        await loaded(images, make([ONE], compress=second))
        assert await loaded(images, make([other], compress=second)) == [{"stream": "Loaded image: other:1\n"}]
        assert len(images.snapshotter.layers()) == 2
        again = await saved(images, "other:1")
        await images.remove("one:1")
        await images.remove("other:1")
        assert await loaded(images, again) == [{"stream": "Loaded image: other:1\n"}]
        await images.remove("other:1")

    opened(work)


def test_a_compressed_layer_of_a_known_one_is_verified(opened: Opened[None]) -> None:
    other = Image(["other:1"], [BASE, TOP], {"Labels": {"other": "1"}})
    lie = oci_layout([Image(["other:1"], [BASE, BASE])], compress=True)

    def swap(found: dict[str, bytes]) -> None:
        manifest = json.loads(found[json_path(found)])
        config = other.document()
        found[f"blobs/sha256/{sha256(config)}"] = config
        manifest["config"] = {**manifest["config"], "digest": f"sha256:{sha256(config)}", "size": len(config)}
        data = json.dumps(manifest).encode()
        found[f"blobs/sha256/{sha256(data)}"] = data
        index = json.loads(found["index.json"])
        index["manifests"][0].update(digest=f"sha256:{sha256(data)}", size=len(data))
        found["index.json"] = json.dumps(index).encode()

    async def work(images: Images) -> None:
        await loaded(images, docker_archive([ONE]))
        with pytest.raises(Error, match="invalid diffID for layer 1"):
            await loaded(images, repacked(lie, swap))

    opened(work)


def json_path(found: dict[str, bytes]) -> str:
    digest: str = json.loads(found["index.json"])["manifests"][0]["digest"]
    return f"blobs/{digest.replace(':', '/')}"


def test_names(opened: Opened[None]) -> None:
    other = Image(["one:1"], [TOP])

    async def work(images: Images) -> None:
        await loaded(images, docker_archive([ONE]))
        assert await loaded(images, docker_archive([other])) == [
            {"stream": f"The image one:1 already exists, renaming the old one with ID {ONE.id} to empty string\n"},
            {"stream": "Loaded image: one:1\n"},
        ]
        assert await loaded(images, docker_archive([Image([], [BASE])])) == [
            {"stream": f"Loaded image ID: {Image([], [BASE]).id}\n"}
        ]
        assert images.get_image(ONE.id).tags == []
        assert await loaded(images, docker_archive([])) == []

    opened(work)


def edit_manifest(**fields: object) -> Callable[[dict[str, bytes]], None]:
    def change(found: dict[str, bytes]) -> None:
        (item,) = json.loads(found["manifest.json"])
        found["manifest.json"] = json.dumps([{**item, **fields}]).encode()

    return change


def replace_manifest(data: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda found: found.update({"manifest.json": data})


def edit_config(**fields: object) -> Callable[[dict[str, bytes]], None]:
    def change(found: dict[str, bytes]) -> None:
        name = json.loads(found["manifest.json"])[0]["Config"]
        found[name] = json.dumps({**json.loads(found[name]), **fields}).encode()

    return change


def replace_layer(data: bytes) -> Callable[[dict[str, bytes]], None]:
    def change(found: dict[str, bytes]) -> None:
        found[json.loads(found["manifest.json"])[0]["Layers"][-1]] = data

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.pop("manifest.json"), "invalid archive: does not contain a manifest.json"),
        (replace_manifest(b"{]"), "invalid archive: failed to decode manifest.json"),
        (replace_manifest(b"null"), "invalid manifest, manifest cannot be null (but can be [])"),
        (replace_manifest(b'[{"Config":3}]'), "invalid archive: failed to decode manifest.json"),
        (edit_manifest(Config="missing.json"), "open missing.json: no such file or directory"),
        (edit_manifest(Config="../../../../etc/hostname"), "no such file or directory"),
        (edit_manifest(Layers=[]), "invalid manifest, layers length mismatch: expected 0, got 2"),
        (edit_manifest(Layers=["x", "y"]), "open x: no such file or directory"),
        (edit_manifest(RepoTags=["Foo:1"]), "repository name (library/Foo) must be lowercase"),
        (edit_manifest(RepoTags=["foo"]), 'invalid tag "foo"'),
        (edit_config(os="windows"), "cannot load windows image on linux"),
        (edit_config(rootfs=None), "invalid image JSON, no RootFS key"),
        (edit_config(architecture=5), "invalid image JSON"),
        (edit_config(history=[{}] * 3), "too many non-empty layers in History section"),
        (replace_layer(BASE), f'layer 1: expected "sha256:{sha256(TOP)}", got "sha256:{sha256(BASE)}"'),
        (replace_layer(b"x" * 5000), "archive/tar: invalid tar header"),
        (replace_layer(TOP[:1025]), "unexpected EOF"),
        (replace_layer(layer(entry("../out", b"x"))), 'invalid entry name "../out"'),
        (replace_layer(gzip.compress(TOP)[:-20]), "unexpected EOF"),
    ],
)  # fmt: skip
def test_malformed_archives_leave_nothing(
    opened: Opened[None], root: Path, change: Callable[[dict[str, bytes]], None], message: str
) -> None:
    async def work(images: Images) -> None:
        with pytest.raises(Error) as error:
            await loaded(images, repacked(docker_archive([ONE]), change))
        assert str(error.value).startswith(message) or str(error.value).endswith(message)
        assert list(await images.list(Filters(), all=True)) == []
        assert [path for path in leftovers(root) if not path.startswith("content/blobs")] == []

    opened(work)
    opened(lambda images: asyncio.sleep(0))
    assert leftovers(root) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "invalid archive: does not contain a manifest.json"),
        (b"x" * 5000, "archive/tar: invalid tar header"),
        (docker_archive([ONE])[:3000], "unexpected EOF"),
        (gzip.compress(docker_archive([ONE]))[:-30], "unexpected EOF"),
    ],
)
def test_streams_that_are_no_archive(opened: Opened[None], root: Path, data: bytes, message: str) -> None:
    async def work(images: Images) -> None:
        with pytest.raises(Error) as error:
            await loaded(images, data)
        assert str(error.value) == message

    opened(work)
    assert leftovers(root) == []


def test_lying_blobs_of_an_oci_layout(opened: Opened[None], root: Path) -> None:
    def swap(found: dict[str, bytes]) -> None:
        found[f"blobs/sha256/{sha256(TOP)}"] = BASE

    async def work(images: Images) -> None:
        with pytest.raises(Error, match="unexpected digest"):
            await loaded(images, repacked(oci_layout([ONE]), swap))

    opened(work)
    assert leftovers(root) == []


def test_nested_indexes_and_platforms(opened: Opened[None]) -> None:
    def nest(found: dict[str, bytes]) -> None:
        (descriptor,) = json.loads(found["index.json"])["manifests"]
        annotations = descriptor.pop("annotations")
        here = {**descriptor, "platform": {"os": "linux", "architecture": "amd64"}}
        missing = {**descriptor, "digest": "sha256:" + "0" * 64, "platform": {"os": "linux", "architecture": "arm64"}}
        attestation = {**missing, "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
        inner = json.dumps({"schemaVersion": 2, "manifests": [missing, attestation, here]}).encode()
        found[f"blobs/sha256/{sha256(inner)}"] = inner
        index_type = "application/vnd.oci.image.index.v1+json"
        outer = {
            "mediaType": index_type,
            "digest": f"sha256:{sha256(inner)}",
            "size": len(inner),
            "annotations": annotations,
        }
        found["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [outer]}).encode()

    def loop(found: dict[str, bytes]) -> None:
        descriptor: dict[str, Any] = json.loads(found["index.json"])["manifests"][0]
        for _ in range(20):
            inner = json.dumps({"schemaVersion": 2, "manifests": [descriptor]}).encode()
            found[f"blobs/sha256/{sha256(inner)}"] = inner
            index_type = "application/vnd.oci.image.index.v1+json"
            descriptor = {"mediaType": index_type, "digest": f"sha256:{sha256(inner)}", "size": len(inner)}
        found["index.json"] = inner

    async def work(images: Images) -> None:
        assert await loaded(images, repacked(oci_layout([ONE]), nest)) == [{"stream": "Loaded image: one:1\n"}]
        with pytest.raises(Error, match="nested too deeply"):
            await loaded(images, repacked(oci_layout([ONE]), loop))

    opened(work)


def test_links_in_old_archives(opened: Opened[None]) -> None:
    """Docker 1.10 to 24 wrote a layer that two images share once, and a link to it."""
    found = members(docker_archive([TWO]))
    config = next(name for name in found if name.endswith(".json") and name != "manifest.json")
    manifest = [{"Config": config, "RepoTags": ["two:1"], "Layers": ["second/layer.tar"]}]
    archive = layer(
        entry("first/layer.tar", BASE),
        entry("second/layer.tar", kind=tarfile.SYMTYPE, link="../first/layer.tar"),
        entry(config, found[config]),
        entry("manifest.json", json.dumps(manifest).encode()),
    )

    async def work(images: Images) -> None:
        assert await loaded(images, archive) == [{"stream": "Loaded image: two:1\n"}]

    opened(work)


def test_a_client_that_goes_away(opened: Opened[None], root: Path) -> None:
    big = layer(*(entry(f"file{number}", os.urandom(2000)) for number in range(2000)))
    archive = docker_archive([Image(["big:1"], [big])])

    async def stalled(arrived: asyncio.Event) -> AsyncIterator[bytes]:
        async for piece in pieces(archive[:-20000]):
            yield piece
        arrived.set()
        await asyncio.Event().wait()

    async def work(images: Images) -> None:
        arrived = asyncio.Event()

        async def consume() -> None:
            async for _ in images.load(stalled(arrived)):
                pass

        task = asyncio.create_task(consume())
        await arrived.wait()
        assert list((root / "content/ingest").iterdir())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert leftovers(root) == []
        assert os.listdir(root / "snapshots") == []

    opened(work)


_KILLED = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from integration.images.conftest import with_images, loaded
async def work(images):
    await loaded(images, Path(sys.argv[2]).read_bytes())
    print("loaded", flush=True)
    await asyncio.Event().wait()
asyncio.run(with_images(Path(sys.argv[1]), work))
"""


@pytest.mark.parametrize("moment", ["unpacking", "recorded"])
def test_a_killed_daemon_leaves_no_half_image(opened: Opened[None], root: Path, tmp_path: Path, moment: str) -> None:
    layers = [layer(*(entry(f"d{n}/f{number}", b"x") for number in range(4000))) for n in range(4)]
    archive = tmp_path / "archive.tar"
    archive.write_bytes(docker_archive([Image(["big:1"], layers)]))
    tests = str(Path(__file__).parents[2])
    process = subprocess.Popen([sys.executable, "-c", _KILLED, str(root), str(archive), tests], stdout=subprocess.PIPE)
    try:
        if moment == "recorded":
            assert process.stdout is not None and process.stdout.readline() == b"loaded\n"
        else:
            while not any((root / "snapshots").glob("*/fs/d*")):
                assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()

    async def work(images: Images) -> None:
        if images.find_id("big:1") is None:
            assert moment == "unpacking"
            assert leftovers(root) == []
            assert os.listdir(root / "snapshots") == []
            return
        image = images.get_image("big:1")
        for number, diff_id in enumerate(image.diff_ids):
            assert len(os.listdir(images.snapshotter.layer_path(diff_id) / f"d{number}")) == 4000
        await images.remove("big:1")

    opened(work)


def test_a_damaged_image_is_neither_shown_nor_thrown_away(opened: Opened[None], root: Path) -> None:
    async def first(images: Images) -> None:
        await loaded(images, docker_archive([ONE, TWO]))

    async def second(images: Images) -> None:
        assert images.find_id("one:1") is None
        assert images.find_id("two:1") == TWO.id
        assert len(images.snapshotter.layers()) == 2

    opened(first)
    (root / "content/blobs/sha256" / ONE.id[7:]).write_bytes(b"damaged")
    opened(second)


def test_images_that_were_not_on_disk_when_the_power_went(opened: Opened[None], root: Path) -> None:
    async def first(images: Images) -> None:
        await loaded(images, docker_archive([ONE]))
        await images.durability.close()
        await loaded(images, docker_archive([TWO]))
        await images.durability.close()
        images.store.execute(
            "INSERT INTO unsynced_images VALUES (?, ?)", TWO.id, msgspec.json.encode({"boot_id": "an earlier boot"})
        )

    async def second(images: Images) -> None:
        assert images.find_id("two:1") is None
        assert images.find_id("one:1") == ONE.id, "a layer that both have is kept"
        assert (images.snapshotter.layer_path(images.get_image("one:1").diff_ids[0]) / "bin/tool").exists()

    opened(first)
    opened(second)
