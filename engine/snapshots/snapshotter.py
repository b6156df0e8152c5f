"""The snapshotter: image layers and the containers' own layers, one numbered directory each.

    snapshots/<n>/fs      what the layer holds; of a container's with a storage driver that copies, all its files
    snapshots/<n>/work    overlayfs's own, for layers that are written to

A layer holds nothing of what is below it, so committed layers are kept by diff id, once for all images. A
directory counts from the moment its record is in the database: `reconcile` removes all others, which a daemon that
was killed left half-made. Nothing is mounted here: `mounts` tells the runtime what to mount in the container's own
mount namespace. Names are short (`<n>/fs`), so that many fit into the option string of an old mount(2) from within the
snapshots directory.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from ..errors import AlreadyExists, InvalidArgument, NotFound
from ..runtime.linux import syncfs
from ..store import Store
from . import copies
from .directories import remove_tree, spread
from .drivers import DRIVERS, Driver, Overlay
from .init_layer import init_layer_for
from .layer import tree_size

logger = logging.getLogger(__name__)

MAX_LAYERS = 490
"""overlayfs takes 500 lower layers in all."""


class Layer(msgspec.Struct, frozen=True):
    """A committed layer; `size` is that of its files."""

    number: int
    size: int


class Snapshot(msgspec.Struct, frozen=True):
    """An active snapshot: a directory of its own above committed layers, the lowest first, and an init layer."""

    number: int
    layers: list[str]
    init: int | None
    driver: str = Overlay.name


def prior_drivers(store: Store) -> set[str]:
    """Return the storage drivers of the snapshots that there are records of."""
    return {snapshot.driver for _, snapshot in store.table("snapshots", Snapshot).all()}


class Snapshotter:
    """Used from the event loop's thread; what takes long runs in threads."""

    def __init__(self, root: Path, store: Store, driver: Driver = DRIVERS[Overlay.name]) -> None:
        """`driver` is for snapshots to come; those that there are keep theirs."""
        root.mkdir(parents=True, exist_ok=True)
        spread(root)
        self._root = root
        self.driver = driver
        self._store = store
        self._layer_table = store.table("layers", Layer)
        self._init_table = store.table("init_layers", Layer)
        self._snapshot_table = store.table("snapshots", Snapshot)
        self._layers = dict(self._layer_table.all())
        self._init_layers = dict(self._init_table.all())
        self._snapshots = dict(self._snapshot_table.all())
        self._init_of_chain: dict[tuple[str, ...], int] = {}
        self._renamed: dict[str, str] = {}
        self.on_removed: Callable[[Sequence[str]], Awaitable[None]] | None = None
        """Set by the images service: told the layers of each removed snapshot, which may have kept them."""
        self._forget_missing()
        self._last_number = max(self._present(), default=0)

    # Committed layers

    def layer(self, diff_id: str) -> Layer | None:
        return self._layers.get(diff_id)

    def layers(self) -> dict[str, Layer]:
        return self._layers

    def layer_path(self, diff_id: str) -> Path:
        if diff_id not in self._layers:
            raise NotFound(f"layer {diff_id} does not exist")
        return self._path(self._layers[diff_id].number)

    def new_layer(self) -> int:
        """Make an empty layer directory; it is kept by `commit` or dropped by `discard`."""
        return self._make_directory()

    def unpack_path(self, number: int) -> Path:
        """Return where the content of the layer `number` goes."""
        return self._path(number)

    def commit(self, number: int, *, diff_id: str, size: int) -> None:
        """Keep a filled layer; where the same one is already there, raise AlreadyExists."""
        if diff_id in self._layers:
            raise AlreadyExists(f"layer {diff_id} already exists")
        layer = Layer(number, size)
        self._layer_table.put(diff_id, layer)
        self._layers[diff_id] = layer

    def keep(self, key: str, *, name: str, size: int) -> None:
        """Make a snapshot that nothing writes to any more a layer, in its place; `name` stands for its diff id."""
        snapshot = self._get(key)
        with self._store.transaction():
            self._snapshot_table.delete(key)
            self.commit(snapshot.number, diff_id=name, size=size)
        del self._snapshots[key]

    def current(self, layers: Sequence[str]) -> list[str]:
        """Return layers by the diff ids that they have by now."""
        return [self._renamed.get(each, each) for each in layers]

    def name_layer(self, name: str, diff_id: str) -> None:
        """Give a layer that was kept under a name its diff id; a layer that has this already stands for both."""
        self._renamed[name] = diff_id
        if diff_id in self._layers:
            return
        layer = self._layers.pop(name)
        with self._store.transaction():
            self._layer_table.delete(name)
            self.commit(layer.number, diff_id=diff_id, size=layer.size)
            for key, snapshot in self._snapshots.items():
                if name in snapshot.layers:
                    layers = [diff_id if each == name else each for each in snapshot.layers]
                    self._snapshots[key] = msgspec.structs.replace(snapshot, layers=layers)
                    self._snapshot_table.put(key, self._snapshots[key])
        self._init_of_chain = {
            tuple(diff_id if each == name else each for each in chain): number
            for chain, number in self._init_of_chain.items()
        }

    async def replace(self, number: int, *, diff_id: str, size: int) -> None:
        """Keep a filled layer in place of the one that is there, if any. Nothing may be mounted on that one."""
        known = self._layers.pop(diff_id, None)
        self.commit(number, diff_id=diff_id, size=size)
        if known is not None:
            await self.discard(known.number)

    async def discard(self, number: int) -> None:
        """Remove a layer that was not committed."""
        await asyncio.to_thread(remove_tree, self._root / str(number))

    async def remove_layers(self, diff_ids: Sequence[str]) -> None:
        """Remove committed layers; ones that are not there are passed over."""
        numbers = []
        with self._store.transaction():
            for diff_id in diff_ids:
                layer = self._layers.pop(diff_id, None)
                if layer is not None:
                    self._layer_table.delete(diff_id)
                    numbers.append(layer.number)
            numbers += self._drop_init_layers(set(diff_ids))
        await asyncio.gather(*(self.discard(number) for number in numbers))

    def stacks(self) -> list[list[str]]:
        """Return the layers that each active snapshot stands on, the lowest first."""
        return [snapshot.layers for snapshot in self._snapshots.values()]

    # Active snapshots

    async def prepare(self, key: str, layers: Sequence[str], *, with_init: bool = True) -> None:
        """Make a snapshot to write to, above the image whose diff ids, the lowest first, are `layers`.

        `with_init` puts the init layer of containers between the two.
        """
        if key in self._snapshots:
            raise AlreadyExists(f"snapshot {key} already exists")
        if len(layers) > MAX_LAYERS:
            raise InvalidArgument("max depth exceeded")
        for diff_id in layers:
            self.layer_path(diff_id)
        init = self._init_layer(layers) if with_init else None
        number = self._make_directory(with_work=not self.driver.copies)
        snapshot = Snapshot(number, list(layers), init, self.driver.name)
        try:
            self._snapshot_table.put(key, snapshot)
        except BaseException:
            remove_tree(self._root / str(number))
            raise
        self._snapshots[key] = snapshot
        if self.driver.copies:
            try:
                await copies.flatten(self._lower(snapshot), self._path(number))
            except BaseException:
                await self.remove(key)
                raise

    def mounts(self, key: str) -> list[dict[str, Any]]:
        """Return the root file system for the runtime."""
        snapshot = self._get(key)
        return DRIVERS[snapshot.driver].mounts(self._root / str(snapshot.number), self._lower(snapshot))

    def upper_path(self, key: str) -> Path:
        """Return the snapshot's own directory: what was changed in it, or all there is where its driver copies."""
        return self._path(self._get(key).number)

    def lower_paths(self, key: str) -> list[Path]:
        """Return the directories below the snapshot's own, uppermost first."""
        return [Path(path) for path in self._lower(self._get(key))]

    def _lower(self, snapshot: Snapshot) -> list[str]:
        # overlayfs takes a directory once; of equal layers the uppermost decides.
        lower = [str(self.layer_path(diff_id)) for diff_id in dict.fromkeys(reversed(snapshot.layers))]
        if snapshot.init is not None:
            lower.insert(0, str(self._path(snapshot.init)))
        # overlayfs wants one lower layer at least.
        return lower or [str(self.empty_layer())]

    def driver_of(self, key: str) -> Driver:
        return DRIVERS[self._get(key).driver]

    async def compare(self, key: str) -> copies.Compared:
        """Return what was changed in a snapshot that is a copy."""
        return await copies.compare(self.upper_path(key), self._lower(self._get(key)))

    @asynccontextmanager
    async def changed(self, key: str) -> AsyncIterator[Path]:
        """Give a directory that holds what was changed, as a layer does; for reading."""
        if not self.driver_of(key).copies:
            yield self.upper_path(key)
            return
        number = self._make_directory()
        try:
            await copies.compare(self.upper_path(key), self._lower(self._get(key)), self._path(number))
            yield self._path(number)
        finally:
            await self.discard(number)

    async def settle(self, key: str, size: int) -> int:
        """Make a snapshot that nothing writes to any more one that `keep` takes; return the size of its files.

        `size` is that of its own directory.
        """
        snapshot = self._get(key)
        if not DRIVERS[snapshot.driver].copies:
            await asyncio.to_thread(DRIVERS[snapshot.driver].settle, self._path(snapshot.number))
            return size
        number = self._make_directory()
        try:
            found = await copies.compare(self.upper_path(key), self._lower(snapshot), self._path(number))
        except BaseException:
            await self.discard(number)
            raise
        self._snapshots[key] = Snapshot(number, snapshot.layers, snapshot.init)
        self._snapshot_table.put(key, self._snapshots[key])
        await self.discard(snapshot.number)
        return found.size

    def layers_of(self, key: str) -> list[str]:
        return self._get(key).layers

    def active(self) -> list[str]:
        """Return the keys of all active snapshots."""
        return list(self._snapshots)

    def has(self, key: str) -> bool:
        return key in self._snapshots

    async def usage(self, key: str) -> int:
        """Return what the files hold that were changed in a snapshot."""
        if self.driver_of(key).copies:
            return (await self.compare(key)).size
        return await asyncio.to_thread(tree_size, str(self.upper_path(key)))

    async def remove(self, key: str) -> None:
        """Remove a snapshot; one that is not there is passed over."""
        snapshot = self._snapshots.pop(key, None)
        if snapshot is None:
            return
        self._snapshot_table.delete(key)
        await self.discard(snapshot.number)
        if self.on_removed is not None:
            await self.on_removed(snapshot.layers)

    def sync(self) -> None:
        """Wait until all layers are on disk, where they have a file system of their own. Usable in any thread."""
        if self._root.is_mount():
            fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                syncfs(fd)
            finally:
                os.close(fd)

    def reconcile(self) -> None:
        """Remove directories without a record. Called once, before all else."""
        known = {layer.number for layer in [*self._layers.values(), *self._init_layers.values()]}
        known |= {snapshot.number for snapshot in self._snapshots.values()}
        for number in self._present() - known:
            logger.warning("snapshot %d: half-made, removed", number)
            remove_tree(self._root / str(number))

    def _present(self) -> set[int]:
        return {int(name) for name in os.listdir(self._root) if name.isdigit()}

    def _forget_missing(self) -> None:
        """Drop the records whose directory is gone, so that nobody relies on them."""
        present = self._present()
        for diff_id, layer in list(self._layers.items()):
            if layer.number not in present:
                logger.error("%s: the layer's directory is gone", diff_id)
                self._layer_table.delete(diff_id)
                del self._layers[diff_id]
        for name, layer in list(self._init_layers.items()):
            if layer.number not in present:
                self._init_table.delete(name)
                del self._init_layers[name]
        for key, snapshot in list(self._snapshots.items()):
            if snapshot.number not in present:
                logger.error("%s: the snapshot's directory is gone", key)
                self._snapshot_table.delete(key)
                del self._snapshots[key]

    def _get(self, key: str) -> Snapshot:
        try:
            return self._snapshots[key]
        except KeyError:
            raise NotFound(f"snapshot {key} does not exist") from None

    def _path(self, number: int) -> Path:
        return self._root / str(number) / "fs"

    def _make_directory(self, *, with_work: bool = False) -> int:
        self._last_number += 1
        directory = self._root / str(self._last_number)
        directory.mkdir(mode=0o700)
        # A container sees the attributes of the uppermost root directory as those of its own.
        (directory / "fs").mkdir()
        (directory / "fs").chmod(0o755)
        if with_work:
            (directory / "work").mkdir(mode=0o700)
        return self._last_number

    def _init_layer(self, layers: Sequence[str]) -> int:
        chain = tuple(layers)
        number = self._init_of_chain.get(chain)
        if number is None:
            wanted = init_layer_for([self.layer_path(diff_id) for diff_id in reversed(layers)])
            layer = self._init_layers.get(wanted.name)
            if layer is None:
                layer = Layer(self._make_directory(), 0)
                wanted.make(self._path(layer.number))
                self._init_table.put(wanted.name, layer)
                self._init_layers[wanted.name] = layer
            number = self._init_of_chain[chain] = layer.number
        return number

    def _drop_init_layers(self, removed: set[str]) -> list[int]:
        """Forget the init layers of images that had one of these layers; return the numbers that nothing else needs."""
        gone = {number for chain, number in self._init_of_chain.items() if not removed.isdisjoint(chain)}
        self._init_of_chain = {
            chain: number for chain, number in self._init_of_chain.items() if removed.isdisjoint(chain)
        }
        gone -= {*self._init_of_chain.values(), *(snapshot.init for snapshot in self._snapshots.values())}
        for name in [name for name, layer in self._init_layers.items() if layer.number in gone]:
            self._init_table.delete(name)
            del self._init_layers[name]
        return list(gone)

    def empty_layer(self) -> Path:
        """Return a directory that stays empty."""
        layer = self._init_layers.get("empty")
        if layer is None:
            layer = Layer(self._make_directory(), 0)
            self._init_table.put("empty", layer)
            self._init_layers["empty"] = layer
        return self._path(layer.number)
