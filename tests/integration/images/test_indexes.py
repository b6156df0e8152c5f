"""Indexes from a registry: what is here of them, attestations that are missing or lie, and what happens to names."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import images as made
from lightship.engine.errors import Error
from lightship.engine.images.images import Images
from lightship.engine.images.references import parse
from lightship.engine.images.registry.credentials import ANONYMOUS
from lightship.engine.images.repair import examine
from lightship.openapi.types.images import OCIPlatform

from .conftest import Opened, leftovers, loaded
from .naughty import INDEX, MANIFEST, Answer, Naughty, digest

LAYER = made.layer(made.entry("a", bytes(10_000)))
OWN = made.layer(made.entry("b", b"b"))
ARM64 = OCIPlatform("arm64", "linux")
CONFIG = b'{"architecture":"unknown","os":"unknown","rootfs":{"type":"layers","diff_ids":[]}}'


@pytest.fixture
def registry() -> Iterator[Naughty]:
    naughty = Naughty()
    yield naughty
    naughty.close()


def indexed(registry: Naughty, tag: str, *, statement: bytes = b'{"predicate": 1}') -> dict[str, Any]:
    """Put an index of two platforms, one with an attestation; return the attestation's manifest."""
    entries = []
    for architecture, layers in (("amd64", [LAYER]), ("arm64", [LAYER, OWN])):
        noted = {"annotations": {"of": tag}}
        document = registry.image(f"{tag}-{architecture}", *layers, architecture=architecture, **noted)
        found = registry.manifest(f"{tag}-{architecture}", document)
        entries.append(found | {"platform": {"os": "linux", "architecture": architecture}})
    attestation = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **registry.blob(CONFIG)},
        "layers": [{"mediaType": "application/vnd.in-toto+json", **registry.blob(statement)}],
    }
    entries.append(
        registry.manifest(f"{tag}-attestation", attestation)
        | {
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": entries[0]["digest"],
            },
        }
    )
    registry.manifest(tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    return attestation


async def pull(images: Images, name: str, platform: str = "") -> list[dict[str, Any]]:
    return [message async for message in images.pull(parse(name), credentials=ANONYMOUS, platform=platform)]


def test_only_what_is_asked_for_is_fetched(opened: Opened[None], registry: Naughty, root: Path) -> None:
    indexed(registry, "1")
    name = f"{registry.host}/x:1"

    async def work(images: Images) -> None:
        await pull(images, name)
        assert len(registry.paths("manifests/")) == 3, "index, image, attestation"
        await pull(images, name, "linux/arm64")
        assert len(registry.paths("manifests/")) == 5 and len(registry.paths("blobs/")) == 6
        assert images.get_image(name, platform=ARM64) is images.get_image(name)
        await images.remove(name)

    opened(work)
    assert leftovers(root) == []


def test_all_is_there_after_a_restart(opened: Opened[Any], registry: Naughty, root: Path) -> None:
    indexed(registry, "1")
    name = f"{registry.host}/x:1"

    async def first(images: Images) -> None:
        await pull(images, name, "linux/arm64")
        await pull(images, name)
        await images.tag(name, repo="other", tag="1")

    async def second(images: Images) -> list[bool]:
        shown = await images.inspect("other:1", manifests=True)
        assert isinstance(shown.manifests, list)
        assert {platform.record.manifest for platform in images.catalog.platforms(parse("other:1"))} <= {
            each.id for each in shown.manifests
        }
        await images.remove(name)
        return [each.available for each in shown.manifests]

    opened(first)
    assert opened(second) == [True, True, True]

    async def last(images: Images) -> None:
        assert images.get_image("other:1", platform=ARM64).config.architecture == "arm64"
        await images.remove("other:1")

    opened(last)
    assert leftovers(root) == []


def test_attestations_that_a_registry_does_not_have(opened: Opened[None], registry: Naughty) -> None:
    attestation = indexed(registry, "1")
    del registry.documents[f"blobs/{attestation['layers'][0]['digest']}"]

    async def work(images: Images) -> None:
        await pull(images, f"{registry.host}/x:1")
        shown = await images.inspect(f"{registry.host}/x:1", manifests=True)
        assert isinstance(shown.manifests, list)
        assert [each.available for each in shown.manifests] == [True, False, False]

    opened(work)


def test_an_attestation_that_lies(opened: Opened[None], registry: Naughty, root: Path) -> None:
    attestation = indexed(registry, "1")
    registry.answers[f"blobs/{attestation['layers'][0]['digest']}"] = Answer(body=b'{"predicate": 2}')

    async def work(images: Images) -> None:
        with pytest.raises(Error, match="verification failed"):
            await pull(images, f"{registry.host}/x:1")

    opened(work)
    assert leftovers(root) == []


def test_an_index_that_is_replaced(opened: Opened[None], registry: Naughty, root: Path) -> None:
    """The same image under another manifest and index is not fetched again; the old index goes with its last name."""
    indexed(registry, "1")
    name = f"{registry.host}/x:1"

    async def work(images: Images) -> None:
        await pull(images, name)
        fetched = len(registry.paths("blobs/"))
        indexed(registry, "2", statement=b'{"predicate": 3}')
        registry.documents["manifests/1"] = registry.documents["manifests/2"]
        await pull(images, name)
        assert len(registry.paths("blobs/")) == fetched + 1, "the statement alone"
        assert images.count() == 1 and len(images.get_image(name).digests) == 2
        assert len(await images.remove(name)) > 2

    opened(work)
    assert leftovers(root) == []


def test_a_name_that_a_load_takes_over(opened: Opened[None], registry: Naughty, root: Path) -> None:
    indexed(registry, "1")
    name = f"{registry.host}/x:1"

    async def work(images: Images) -> None:
        await pull(images, name)
        await loaded(images, made.docker_archive([made.Image([name], [OWN])]))
        assert images.catalog.index_of(parse(name)) is None
        for image in list(images.catalog.images()):
            await images.remove(image.id, force=True)

    opened(work)
    assert leftovers(root) == []


def test_what_disk_usage_tells_adds_up(opened: Opened[None], registry: Naughty, root: Path) -> None:
    """Blobs and unpacked files, each once: what `du` finds, without the database."""
    indexed(registry, "1")

    async def work(images: Images) -> None:
        await loaded(
            images, made.docker_archive([made.Image(["a:1", "b:1"], [LAYER, OWN]), made.Image(["c:1"], [OWN])])
        )
        await pull(images, f"{registry.host}/x:1")
        await pull(images, f"{registry.host}/x:1", "linux/arm64")
        assert images.total_size() == disk_usage(root / "content", root / "snapshots")
        await images.remove(f"{registry.host}/x:1")
        await images.remove("b:1")
        assert images.total_size() == disk_usage(root / "content", root / "snapshots")

    opened(work)


def disk_usage(*folders: Path) -> int:
    """Return the bytes of all files, by `du`."""
    files = [str(path) for folder in folders for path in folder.rglob("*") if path.is_file()]
    done = subprocess.run(["du", "-cb", *files], check=True, capture_output=True, text=True)
    return int(done.stdout.splitlines()[-1].split()[0])


def test_a_pull_that_finds_nothing_new_changes_nothing(opened: Opened[None], registry: Naughty) -> None:
    indexed(registry, "1")
    name = f"{registry.host}/x:1"

    async def work(images: Images) -> None:
        await pull(images, name)
        before = await images.inspect(name)
        messages = await pull(images, name)
        assert messages[-1]["status"] == f"Status: Image is up to date for {name}"
        assert await images.inspect(name) == before

    opened(work)


@pytest.mark.parametrize("what", ["index", "statement"])
def test_the_doctor_tells_of_damage(opened: Opened[None], registry: Naughty, root: Path, what: str) -> None:
    """The image is usable all the same; another pull makes an index good."""
    attestation = indexed(registry, "1")
    name = f"{registry.host}/x:1"
    blob = digest(registry.documents["manifests/1"][0]) if what == "index" else attestation["layers"][0]["digest"]

    async def pulling(images: Images) -> None:
        await pull(images, name)
        assert images.catalog.index_of(parse(name)) is not None

    async def found() -> list[str]:
        return [finding.text async for finding in examine(root, repair=False)]

    opened(pulling)
    assert asyncio.run(found()) == []
    (root / "content/blobs" / blob.replace(":", "/")).write_bytes(b"damage")
    (text,) = asyncio.run(found())
    assert name in text and ("the index cannot be read" if what == "index" else "of an attestation is damaged") in text
    if what == "index":
        opened(pulling)
        assert asyncio.run(found()) == []
