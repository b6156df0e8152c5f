"""What builds have made and may use again: results by what decides them, on disk across restarts.

A key is a digest of a step's definition and of its inputs' keys, or of the content of files that it copies. A record
says which layers the step resulted in; an alias says that what is defined one way has, by its content, another key.
Layers are the snapshotter's; images' garbage collection asks here what to keep.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from ..images.config import Descriptor
from ..images.durability import boot_id

if TYPE_CHECKING:
    from ..snapshots.snapshotter import Snapshotter
    from ..store import Store

REGULAR, LOCAL, GIT, CACHE_MOUNT = "regular", "source.local", "source.git.checkout", "exec.cachemount"
_LAYER_PREFIX = "build:"


class CacheRecord(msgspec.Struct):
    """A result. `layers` are what a file system is made of, the lowest first; the last one is the step's own."""

    id: str
    layers: list[str]
    description: str
    type: str = REGULAR
    size: int = 0
    created_ns: int = 0
    last_used_ns: int = 0
    usage_count: int = 0
    parents: list[str] = []
    has_own_layer: bool = True
    etag: str = ""
    checksum: str = ""
    boot_id: str = ""
    """Set until the result is on disk: after a power cut it may not be whole."""


class _Alias(msgspec.Struct):
    key: str


class _Blob(msgspec.Struct):
    """Where the content store has a layer that no image may have."""

    descriptor: Descriptor


class Cache:
    """Records by key, all in memory. Used from the event loop's thread alone."""

    def __init__(self, store: Store, snapshots: Snapshotter) -> None:
        self._store, self._snapshots = store, snapshots
        self._table = store.table("build_cache", CacheRecord)
        self._alias_table = store.table("build_aliases", _Alias)
        self._blob_table = store.table("build_blobs", _Blob)
        self._records = dict(self._table.all())
        self._aliases = {key: alias.key for key, alias in self._alias_table.all()}
        self._blobs = {diff_id: blob.descriptor for diff_id, blob in self._blob_table.all()}
        self._users: Counter[str] = Counter()
        self._boot_id = boot_id()

    def reconcile(self) -> None:
        """Forget what has lost its layers, or never reached the disk, and aliases and blobs of what is gone."""
        present = self._snapshots.layers()
        for key, record in list(self._records.items()):
            if record.boot_id not in ("", self._boot_id) or any(layer not in present for layer in record.layers):
                self._delete(key)
        self._forget_unneeded()

    def held(self) -> Iterator[str]:
        """Yield the layers and blobs that records need."""
        for record in self._records.values():
            yield from record.layers
        for descriptor in self._blobs.values():
            yield descriptor.digest

    def get(self, key: str) -> CacheRecord | None:
        return self._records.get(key)

    def records(self) -> Iterator[tuple[str, CacheRecord]]:
        yield from self._records.items()

    def use(self, key: str, *, is_changed: bool = False) -> None:
        """Note that a record was used just now, or even changed."""
        record = self._records[key]
        if is_changed:
            record.boot_id = self._boot_id
        record.last_used_ns = time.time_ns()
        record.usage_count += 1
        self._table.put(key, record)

    def put(self, key: str, record: CacheRecord) -> None:
        record.created_ns = record.last_used_ns = time.time_ns()
        record.usage_count = 1
        record.boot_id = self._boot_id
        self._records[key] = record
        self._table.put(key, record)

    def unsynced(self) -> list[str]:
        """Return the keys of what may not be on disk yet."""
        return [key for key, record in self._records.items() if record.boot_id]

    def note_synced(self, keys: Sequence[str]) -> None:
        with self._store.transaction():
            for key in keys:
                if (record := self._records.get(key)) is not None:
                    record.boot_id = ""
                    self._table.put(key, record)

    def alias(self, key: str) -> str | None:
        """Return the key by content of what has this one by definition."""
        return self._aliases.get(key)

    def aliases(self) -> dict[str, list[str]]:
        """Return all keys by definition, by the key that they stand for."""
        found: dict[str, list[str]] = {}
        for key, target in self._aliases.items():
            found.setdefault(target, []).append(key)
        return found

    def set_alias(self, key: str, target: str) -> None:
        if self._aliases.get(key) != target:
            self._aliases[key] = target
            self._alias_table.put(key, _Alias(target))

    def blob(self, diff_id: str) -> Descriptor | None:
        return self._blobs.get(diff_id)

    def set_blob(self, diff_id: str, descriptor: Descriptor) -> None:
        """Note the blob of a layer, which is kept as long as a record has the layer."""
        self._blobs[diff_id] = descriptor
        self._blob_table.put(diff_id, _Blob(descriptor))

    def rename_layer(self, name: str, diff_id: str) -> None:
        """Have all records refer to a layer by its diff id."""
        with self._store.transaction():
            for key, record in self._records.items():
                if name in record.layers:
                    record.layers = [diff_id if layer == name else layer for layer in record.layers]
                    self._table.put(key, record)

    @contextmanager
    def in_use(self, keys: list[str]) -> Iterator[None]:
        """Keep from pruning the records whose keys are, or come to be, in the list; `note_use` adds them."""
        try:
            yield
        finally:
            for key in keys:
                self._users[key] -= 1
            self._users = +self._users

    def note_use(self, keys: list[str], key: str) -> None:
        keys.append(key)
        self._users[key] += 1

    def is_used(self, key: str) -> bool:
        return self._users[key] > 0

    def children(self) -> set[str]:
        """Return the keys that some record was made from."""
        return {parent for record in self._records.values() for parent in record.parents}

    def remove(self, keys: Iterable[str]) -> tuple[Sequence[str], Sequence[str]]:
        """Remove records; return the layers and the blobs that they had, for the garbage collector."""
        layers: dict[str, None] = {}
        with self._store.transaction():
            for key in keys:
                record = self._records.get(key)
                if record is not None:
                    layers.update(dict.fromkeys(record.layers))
                    self._delete(key)
            blobs = self._forget_unneeded()
        return list(layers), blobs

    def _delete(self, key: str) -> None:
        del self._records[key]
        self._table.delete(key)

    def _forget_unneeded(self) -> list[str]:
        """Drop aliases that lead nowhere, and blobs of layers that no record has; return their digests."""
        for key, target in list(self._aliases.items()):
            if target not in self._records:
                del self._aliases[key]
                self._alias_table.delete(key)
        kept = {layer for record in self._records.values() for layer in record.layers}
        gone = []
        for diff_id, descriptor in list(self._blobs.items()):
            if diff_id not in kept:
                del self._blobs[diff_id]
                self._blob_table.delete(diff_id)
                gone.append(descriptor.digest)
        return gone


def layer_name(id: str) -> str:
    """Return what a layer is called before its diff id is known."""
    return f"{_LAYER_PREFIX}{id}"


def is_unnamed(layer: str) -> bool:
    """Tell whether a layer's diff id is not known yet."""
    return layer.startswith(_LAYER_PREFIX)
