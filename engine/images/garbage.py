"""What may be removed: blobs and layers that no image, snapshot or running operation needs.

Reachability is computed from the catalog and the snapshotter, never counted; operations pin what they have decided to
rely on before an image refers to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

from ..snapshots.snapshotter import Snapshotter
from ..store import Store
from .catalog import Catalog
from .config import chain_ids
from .content import ContentStore

logger = logging.getLogger(__name__)


class Garbage:
    def __init__(self, store: Store, catalog: Catalog, content: ContentStore, snapshotter: Snapshotter) -> None:
        self._store, self._catalog, self._content, self._snapshotter = store, catalog, content, snapshotter
        self._pins: Counter[str] = Counter()
        self.holders: list[Callable[[], Iterable[str]]] = []
        """Each gives the digests and layers that someone else keeps: the builder's cache."""

    @contextmanager
    def pinned(self) -> Iterator[list[str]]:
        """Keep the digests and diff ids in the list that this yields; the caller adds to it by `pin`."""
        pins: list[str] = []
        try:
            yield pins
        finally:
            for digest in pins:
                self._pins[digest] -= 1
            self._pins = +self._pins

    def pin(self, pins: list[str], digest: str) -> None:
        pins.append(digest)
        self._pins[digest] += 1

    async def collect(self, *, blobs: Collection[str], diff_ids: Sequence[str]) -> None:
        """Remove those of the given blobs and layers, and of released indexes, that nothing needs."""
        if any(self._unneeded(blobs, diff_ids)):
            # What has let go of them must not come back after a power cut, to find them gone.
            await asyncio.to_thread(self._store.sync)
        unneeded_blobs, unneeded_layers = self._unneeded(blobs, diff_ids)
        for digest in unneeded_blobs:
            self._content.delete(digest)
        self._catalog.released -= unneeded_blobs
        await self._snapshotter.remove_layers(unneeded_layers)

    def _unneeded(self, blobs: Collection[str], diff_ids: Sequence[str]) -> tuple[set[str], list[str]]:
        needed_blobs, needed_layers = self._needed()
        unneeded_blobs = {*blobs, *self._catalog.released} - needed_blobs
        present = self._snapshotter.layers().keys() & dict.fromkeys(diff_ids).keys()
        return unneeded_blobs, [diff_id for diff_id in dict.fromkeys(diff_ids) if diff_id in present - needed_layers]

    async def collect_layers(self, diff_ids: Sequence[str]) -> None:
        """Remove those of a removed snapshot's layers that nothing needs any more."""
        await self.collect(blobs=(), diff_ids=diff_ids)

    def unreachable_chains(self, chains: Sequence[str]) -> list[str]:
        """Return those chain ids that neither an image nor a snapshot has, uppermost first, as `docker rmi` does."""
        kept = {chain for image in self._catalog.images() for chain in image.chain_ids}
        kept |= {chain for layers in self._snapshotter.stacks() for chain in chain_ids(layers)}
        return [chain for chain in reversed(chains) if chain not in kept]

    async def reconcile(self) -> None:
        """Remove all that nothing needs. Called once at start, when no operation runs."""
        if self._catalog.has_damage:
            logger.warning("unneeded content is kept, since an image is damaged")
            return
        needed_blobs, needed_layers = self._needed()
        for digest in set(self._content.digests()) - needed_blobs:
            logger.warning("%s: nothing needs this blob, removed", digest)
            self._content.delete(digest)
        unneeded = self._snapshotter.layers().keys() - needed_layers
        await self._snapshotter.remove_layers(list(unneeded))

    def _needed(self) -> tuple[set[str], set[str]]:
        blobs = set(self._snapshotter.current(list(self._pins))).union(*(held() for held in self.holders))
        layers = blobs.union(*self._snapshotter.stacks())
        blobs |= self._catalog.index_blobs()
        for image in self._catalog.images():
            blobs.update(image.blobs)
            layers.update(image.diff_ids)
        return blobs, layers
