"""Images with a store of their own, without a daemon; and a maker of archives."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from lightship.engine.config import RegistryConfig
from lightship.engine.events import Events
from lightship.engine.images.images import Images
from lightship.engine.snapshots.snapshotter import Snapshotter
from lightship.engine.store import Store

T = TypeVar("T")
Opened = Callable[[Callable[[Images], Coroutine[Any, Any, T]]], T]


@pytest.fixture(autouse=True)
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def opened(root: Path) -> Opened[Any]:
    """Run a coroutine function with the images service, opened for it as at a daemon's start."""

    def run(work: Callable[[Images], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run(with_images(root, work))

    return run


async def with_images(root: Path, work: Callable[[Images], Coroutine[Any, Any, T]]) -> T:
    root.mkdir(exist_ok=True)
    store = Store(root / "lightship.db")
    snapshotter = Snapshotter(root / "snapshots", store)
    snapshotter.reconcile()
    images = Images(root, store, Events(), snapshotter, RegistryConfig())
    try:
        await images.start()
        return await work(images)
    finally:
        await images.close()
        store.close()


async def pieces(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def loaded(images: Images, data: bytes, *, quiet: bool = True) -> list[dict[str, Any]]:
    return [message async for message in images.load(pieces(data), quiet=quiet)]


async def saved(images: Images, *names: str) -> bytes:
    return b"".join([chunk async for chunk in images.save(names)])


def leftovers(root: Path) -> list[str]:
    """Return what a data root holds besides empty directories and the database."""
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if not path.name.startswith("lightship.db") and (path.is_symlink() or not path.is_dir())
    )
