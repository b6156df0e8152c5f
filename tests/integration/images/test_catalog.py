"""Names, removal, lists and import, by dockerd's rules."""

from __future__ import annotations

import bz2
import gzip
import io
from pathlib import Path
from typing import Any

import pytest
from harness.images import Image, docker_archive, entry, layer
from lightship.engine.errors import Conflict, Error, InvalidArgument, NotFound
from lightship.engine.events import Events
from lightship.engine.filters import Filters
from lightship.engine.images.images import Images
from msgspec import UNSET

from .conftest import Opened, leftovers, loaded, pieces, saved

BASE = layer(entry("base", b"base"))
ONE = Image(["one:1", "one:2", "other:1"], [BASE, layer(entry("one", b"1"))], {"Labels": {"kind": "first", "n": "1"}})
TWO = Image(["two:1"], [BASE], {"Labels": {"kind": "second"}})
STOPPED, RUNNING = "5" * 64, "e" * 64


def shown(items: Any) -> list[str]:
    return [
        f"Untagged: {item.untagged}" if item.untagged is not UNSET else f"Deleted: {item.deleted}" for item in items
    ]


def test_resolving(opened: Opened[None]) -> None:
    async def work(images: Images) -> None:
        await loaded(images, docker_archive([ONE, TWO]))
        for ref in ("one:1", "docker.io/library/one:2", ONE.id, ONE.id[7:], ONE.id[7:19], f"sha256:{ONE.id[7:12]}"):
            assert images.get_image(ref).id == ONE.id
        for ref, message in (
            ("one", "No such image: one:latest"),
            ("nosuch:1", "No such image: nosuch:1"),
            ("sha256:abc", "No such image: sha256:abc"),
            ("a" * 64, f"No such image: sha256:{'a' * 64}"),
        ):
            with pytest.raises(NotFound) as error:
                images.get_image(ref)
            assert str(error.value) == message
        with pytest.raises(InvalidArgument, match="must be lowercase"):
            images.get_image("One")
        assert images.find_id("One") is None
        assert images.count() == 2

    opened(work)


def test_removing_names_and_images(opened: Opened[None], root: Path) -> None:
    async def work(images: Images) -> None:
        await loaded(images, docker_archive([ONE, TWO]))
        short = ONE.id[7:19]
        one = images.get_image(ONE.id)
        with pytest.raises(Conflict) as conflict:
            await images.remove(short)
        assert str(conflict.value) == (
            f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )
        assert shown(await images.remove("one:1")) == ["Untagged: one:1"]
        images.users = lambda image_id: [(STOPPED, False)]
        assert shown(await images.remove("one:2")) == ["Untagged: one:2"]
        with pytest.raises(Conflict) as conflict:
            await images.remove("other:1")
        assert str(conflict.value) == (
            'conflict: unable to remove repository reference "other:1" (must force) - '
            f"container {STOPPED[:12]} is using its referenced image {short}"
        )
        with pytest.raises(Conflict) as conflict:
            await images.remove(short)
        assert str(conflict.value) == (
            f"conflict: unable to delete {short} (must be forced) - "
            f"image is being used by stopped container {STOPPED[:12]}"
        )
        images.users = lambda image_id: [(RUNNING, True)]
        with pytest.raises(Conflict) as conflict:
            await images.remove(short, force=True)
        assert str(conflict.value) == (
            f"conflict: unable to delete {short} (cannot be forced) - "
            f"image is being used by running container {RUNNING[:12]}"
        )
        assert shown(await images.remove("other:1", force=True)) == ["Untagged: other:1"], "a user keeps the image"
        images.users = lambda image_id: []
        assert shown(await images.remove(short)) == [f"Deleted: {ONE.id}", f"Deleted: {one.chain_ids[1]}"]
        assert shown(await images.remove("two:1"))[-1] == f"Deleted: {one.chain_ids[0]}"

    opened(work)
    assert leftovers(root) == []


def test_prune(opened: Opened[None], root: Path) -> None:
    async def work(images: Images) -> None:
        await loaded(images, docker_archive([ONE, TWO]))
        assert await images.prune(Filters()) == ([], 0)
        await images.remove("two:1", force=True)
        await loaded(images, docker_archive([Image([], [BASE, layer(entry("big", b"x" * 1000))])]))
        items, reclaimed = await images.prune(Filters())
        assert (len(items), reclaimed) == (2, 1000)
        with pytest.raises(InvalidArgument, match="invalid filter 'nosuch'"):
            await images.prune(Filters({"nosuch": ["x"]}))
        for filters in ({"label": ["kind=second"]}, {"label!": ["kind"]}, {"until": ["2000-01-01T00:00:00"]}):
            assert await images.prune(Filters({"dangling": ["false"], **filters})) == ([], 0)
        items, reclaimed = await images.prune(Filters({"dangling": ["false"]}))
        assert reclaimed == 5
        assert images.count() == 0

    opened(work)
    assert leftovers(root) == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, {"one", "two", None}),
        ({"dangling": ["true"]}, {None}),
        ({"dangling": ["false"]}, {"one", "two"}),
        ({"label": ["kind"]}, {"one", "two"}),
        ({"label": ["kind=first", "n"]}, {"one"}),
        ({"reference": ["one"]}, {"one"}),
        ({"reference": ["o*:*"]}, {"one"}),
        ({"reference": ["docker.io/library/t*"]}, {"two"}),
        ({"reference": ["*/*"]}, set()),
        ({"reference": ["t[v-x]o:?"]}, {"two"}),
        ({"before": ["two:1"]}, set()),
        ({"since": ["one:1"]}, set()),
        ({"until": ["2030-01-01T00:00:00Z"]}, {"one", "two", None}),
        ({"until": ["2000-01-01T00:00:00Z"]}, set()),
    ],
)
def test_lists(opened: Opened[None], filters: dict[str, list[str]], expected: set[str | None]) -> None:
    async def work(images: Images) -> None:
        await loaded(images, docker_archive([ONE, TWO, Image([], [BASE])]))
        found = await images.list(Filters(filters))
        assert {item.repo_tags[0].split(":")[0] if item.repo_tags else None for item in found} == expected

    opened(work)


@pytest.mark.parametrize(
    "filters", [{"nosuch": ["x"]}, {"dangling": ["x"]}, {"reference": ["[x"]}, {"before": ["gone"]}]
)
def test_bad_filters(opened: Opened[None], filters: dict[str, list[str]]) -> None:
    async def work(images: Images) -> None:
        await loaded(images, docker_archive([ONE]))
        with pytest.raises(Error):
            await images.list(Filters(filters))

    opened(work)


def test_sizes_and_users(opened: Opened[None]) -> None:
    async def work(images: Images) -> None:
        await loaded(images, docker_archive([ONE, TWO]))
        images.users = lambda image_id: [(STOPPED, False)] if image_id == TWO.id else []
        one, two = sorted(await images.list(Filters(), shared_size=True), key=lambda item: -item.size)
        assert (one.size, one.shared_size, one.containers) == (5, 4, 0)
        assert (two.size, two.shared_size, two.containers) == (4, 4, 1)
        inspected = await images.inspect("one:1")
        assert inspected.root_fs.layers == images.get_image("one:1").diff_ids
        steps = await images.history("one:1")
        assert [(step.id, step.size, step.created_by) for step in steps] == [
            (ONE.id, 1, "ADD layer 1"), ("<missing>", 4, "ADD layer 0"),
        ]  # fmt: skip
        assert steps[0].tags == ["one:1", "one:2", "other:1"]

    opened(work)


def test_tags_move(opened: Opened[None]) -> None:
    async def work(images: Images) -> None:
        await loaded(images, docker_archive([ONE, TWO]))
        await images.tag("two:1", repo="one", tag="1")
        assert images.get_image("one:1").id == TWO.id
        assert images.get_image(ONE.id).tags == ["one:2", "other:1"]
        await images.tag(TWO.id, repo="localhost:5000/x/y", tag="")
        assert "localhost:5000/x/y:latest" in images.get_image("two:1").tags
        with pytest.raises(NotFound):
            await images.tag("gone", repo="x", tag="")

    opened(work)
    opened(lambda images: _still_tagged(images))


async def _still_tagged(images: Images) -> None:
    assert images.get_image("one:1").id == TWO.id


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress])
def test_import(opened: Opened[None], root: Path, compress: Any) -> None:
    async def work(images: Images) -> None:
        (message,) = [
            message
            async for message in images.import_image(
                pieces(compress(BASE)), repo="made", tag="1", message="note", changes=["CMD echo hi", "LABEL a=b"],
                platform="linux/arm64/v8",
            )
        ]  # fmt: skip
        image = images.get_image("made:1")
        assert message == {"status": image.id}
        inspected = await images.inspect("made:1")
        assert inspected.config is not None
        assert (inspected.config.cmd, inspected.config.labels) == (["/bin/sh", "-c", "echo hi"], {"a": "b"})
        assert (inspected.architecture, inspected.variant, inspected.comment, inspected.size) == (
            "arm64",
            "v8",
            "note",
            4,
        )
        with pytest.raises(NotFound, match=r"its platform \(linux/arm64\) does not match the specified platform"):
            images.catalog.resolve("made:1", platform=_amd64())
        archive = await saved(images, "made:1")
        await images.remove("made:1")
        assert await loaded(images, archive) == [{"stream": "Loaded image: made:1\n"}]
        await images.remove("made:1")

    opened(work)
    assert leftovers(root) == []


def _amd64() -> Any:
    from lightship.engine.images.config import Platform

    return Platform("linux", "amd64")


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (b"x" * 3000, {}, "archive/tar: invalid tar header"),
        (BASE[:514], {}, "unexpected EOF"),
        (BASE, {"repo": "Upper"}, "invalid reference format: repository name (library/Upper) must be lowercase"),
        (BASE, {"repo": "x", "tag": "a:b"}, "invalid tag format"),
        (BASE, {"platform": "windows"}, "operating system is not supported"),
        (BASE, {"changes": ["RUN x"]}, "RUN is not a valid change command"),
    ],
)
def test_bad_imports_leave_nothing(
    opened: Opened[None], root: Path, data: bytes, options: dict[str, Any], message: str
) -> None:
    async def work(images: Images) -> None:
        with pytest.raises(Error) as error:
            async for _ in images.import_image(pieces(data), **options):
                pass
        assert str(error.value) == message
        assert leftovers(root) == []

    opened(work)


def test_events(opened: Opened[None]) -> None:
    async def work(images: Images) -> None:
        told: list[tuple[str, dict[str, str]]] = []

        class Recorder(Events):
            def publish(self, type: str, action: str, actor_id: str, attributes: Any = None, **_: Any) -> None:
                assert type == "image"
                told.append((action, dict(attributes)))

        images.events = Recorder()
        await loaded(images, docker_archive([TWO]))
        await images.tag("two:1", repo="new", tag="")
        await saved(images, "new")
        await images.remove("new")
        await images.remove(TWO.id)
        async for _ in images.import_image(pieces(io.BytesIO(BASE).read()), repo="i", tag=""):
            pass
        labels = {"kind": "second"}
        imported = images.get_image("i").id
        assert told == [
            ("load", {**labels, "name": TWO.id}),
            ("tag", {**labels, "name": "new:latest"}),
            ("save", {**labels, "name": TWO.id}),
            ("untag", {**labels, "name": TWO.id}),
            ("untag", {**labels, "name": TWO.id}),
            ("delete", {"name": TWO.id}),
            ("tag", {"name": "i:latest"}),
            ("import", {"name": imported}),
        ]

    opened(work)
