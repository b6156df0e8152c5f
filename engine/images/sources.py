"""What registries were seen to have: the repositories of a blob, and the compressed form of a layer.

So a push can have blobs mounted rather than upload them, and need not compress a layer again to learn what it would be.
The registry is always asked; what is wrong here costs an upload and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from ..store import Store
from .config import Descriptor
from .references import Reference

_KEPT = 8


class _Repositories(msgspec.Struct):
    names: list[str]
    """With their domain, the latest first."""


class Sources:
    def __init__(self, store: Store) -> None:
        self._repositories = store.table("blob_sources", _Repositories)
        self._compressed = store.table("compressed_layers", Descriptor)

    def note(self, blob: str, repository: Reference) -> None:
        """Remember that a repository has a blob."""
        known = self._repositories.get(blob)
        names = known.names if known else []
        if names[:1] != [repository.name]:
            others = [name for name in names if name != repository.name]
            self._repositories.put(blob, _Repositories([repository.name, *others][:_KEPT]))

    def elsewhere(self, blob: str, repository: Reference) -> list[str]:
        """Return the paths of the other repositories of the same registry that may have a blob."""
        known = self._repositories.get(blob)
        prefix = f"{repository.domain}/"
        names = known.names if known else []
        return [name.removeprefix(prefix) for name in names if name.startswith(prefix) and name != repository.name]

    def compressed(self, diff_id: str) -> Descriptor | None:
        return self._compressed.get(diff_id)

    def note_compressed(self, diff_id: str, descriptor: Descriptor) -> None:
        self._compressed.put(diff_id, descriptor)

    def reconcile(self, diff_ids: Collection[str], blobs: Collection[str]) -> None:
        """Forget what no image has any more."""
        kept = set(blobs)
        for diff_id, descriptor in list(self._compressed.all()):
            if diff_id in diff_ids:
                kept.add(descriptor.digest)
            else:
                self._compressed.delete(diff_id)
        for blob, _ in list(self._repositories.all()):
            if blob not in kept:
                self._repositories.delete(blob)
