"""Several pulls of the same layer at the same time: one download, which outlives whoever began it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import images as made
from lightship.engine.errors import Error
from lightship.engine.images.images import Images
from lightship.engine.images.references import parse
from lightship.engine.images.registry.credentials import ANONYMOUS

from .conftest import Opened, leftovers
from .naughty import Answer, Naughty

LAYER = made.layer(made.entry("a", random.Random(1).randbytes(300_000)))
OWN = made.layer(made.entry("b", b"b"))


@pytest.fixture
def registry() -> Iterator[Naughty]:
    naughty = Naughty()
    yield naughty
    naughty.close()


class Gate:
    """Holds back a registry's answer for a blob; `asked` counts who wants it."""

    def __init__(self, registry: Naughty, blob: str) -> None:
        self.path = f"blobs/{blob}"
        self.reached, self.opened = threading.Event(), threading.Event()
        self._registry = registry
        registry.before = self._before

    def _before(self, path: str) -> None:
        if path == self.path:
            self.reached.set()
            self.opened.wait(30)

    @property
    def asked(self) -> int:
        return sum(method == "GET" and path == self.path for method, path, _ in self._registry.asked)


class Pull:
    """A pull under way, with what it has said."""

    def __init__(self, images: Images, name: str) -> None:
        self.said: list[dict[str, Any]] = []
        self.changed = asyncio.Event()
        self.task = asyncio.create_task(self._run(images, name))

    async def _run(self, images: Images, name: str) -> None:
        async for message in images.pull(parse(name), credentials=ANONYMOUS):
            self.said.append(message)
            self.changed.set()

    async def says(self, status: str) -> None:
        while not any(message.get("status") == status for message in self.said):
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 30)

    async def cancel(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


def shared(registry: Naughty) -> Gate:
    """Two images with a layer in common, which is held back."""
    layer = registry.image("1", LAYER)["layers"][0]
    registry.image("2", LAYER, OWN)
    return Gate(registry, layer["digest"])


async def both(images: Images, registry: Naughty, gate: Gate) -> tuple[Pull, Pull]:
    """Begin two pulls, the second when the first has asked for the layer; both want it when this returns."""
    first = Pull(images, f"{registry.host}/x:1")
    await asyncio.to_thread(gate.reached.wait, 30)
    second = Pull(images, f"{registry.host}/x:2")
    await second.says("Pull complete")
    return first, second


def test_a_layer_is_fetched_once(opened: Opened[None], registry: Naughty) -> None:
    gate = shared(registry)

    async def work(images: Images) -> None:
        pulls = await both(images, registry, gate)
        gate.opened.set()
        for pull in pulls:
            await pull.task
            assert [message.get("status") for message in pull.said].count("Download complete") >= 1
        assert gate.asked == 1 and images.count() == 2

    opened(work)


@pytest.mark.parametrize("who", [0, 1])
def test_one_goes_away(opened: Opened[None], registry: Naughty, who: int) -> None:
    gate = shared(registry)

    async def work(images: Images) -> None:
        pulls = await both(images, registry, gate)
        await pulls[who].cancel()
        gate.opened.set()
        await pulls[1 - who].task
        assert images.find_id(f"{registry.host}/x:{2 - who}") and images.count() == 1
        assert gate.asked == (2 if who == 0 else 1)

    opened(work)


def test_all_go_away(opened: Opened[None], registry: Naughty, root: Path) -> None:
    gate = shared(registry)

    async def work(images: Images) -> None:
        for pull in await both(images, registry, gate):
            await pull.cancel()
        gate.opened.set()
        assert images.count() == 0

    opened(work)
    assert leftovers(root) == []


def test_what_fails_for_one_is_tried_by_the_other(opened: Opened[None], registry: Naughty) -> None:
    gate = shared(registry)
    refusal = b'{"errors": [{"code": "DENIED", "message": "not you"}]}'
    registry.answers[gate.path] = Answer(403, refusal, times=1)

    async def work(images: Images) -> None:
        first, second = await both(images, registry, gate)
        gate.opened.set()
        with pytest.raises(Error):
            await first.task
        await second.task
        assert images.count() == 1

    opened(work)


def test_the_same_image_twice(opened: Opened[None], registry: Naughty) -> None:
    gate = shared(registry)

    async def work(images: Images) -> None:
        pulls = [Pull(images, f"{registry.host}/x:1") for _ in range(4)]
        for pull in pulls:
            await pull.says("Pulling fs layer")
        gate.opened.set()
        for pull in pulls:
            await pull.task
        assert images.count() == 1 and gate.asked == 1

    opened(work)
