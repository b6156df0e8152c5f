"""What the API asks of containers' files: the part of the containers service that copies, compares and commits.

One instance, `Containers.files`. Each verb is in a module of its own; here references become containers.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from ...openapi.types.containers import FilesystemChange, PathStat
from . import archive, commit, export
from .commit import CommitOptions

if TYPE_CHECKING:
    from .context import Context
    from .fileworkers import Archive


class Files:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def stat(self, ref: str, path: str) -> PathStat:
        return await archive.stat_path(self._context, self._context.registry.resolve(ref), ref, path)

    def read(self, ref: str, path: str, *, compression: str = "") -> AsyncGenerator[Any, None]:
        """Return what yields a PathStat first and then the archive's bytes, compressed where that is asked for."""
        return archive.read(self._context, self._context.registry.resolve(ref), ref, path, compression=compression)

    async def write(self, ref: str, path: str, source: Archive, *, keeps_kinds: bool, copies_owner: bool) -> None:
        """Extract an archive into a directory (see `archive.write`)."""
        container = self._context.registry.resolve(ref)
        await archive.write(
            self._context, container, ref, path, source, keeps_kinds=keeps_kinds, copies_owner=copies_owner
        )

    async def changes(self, ref: str) -> list[FilesystemChange]:
        container = self._context.registry.resolve(ref)
        snapshots = self._context.snapshots
        if snapshots.driver_of(container.id).copies:
            found = (await snapshots.compare(container.id)).changes
        else:
            upper, lower = snapshots.upper_path(container.id), snapshots.lower_paths(container.id)
            found = await self._context.file_workers.run(
                "changes", directory=str(upper), lower=[str(path) for path in lower]
            )
        return [FilesystemChange(path=path, kind=kind) for path, kind in found]

    def export(self, ref: str) -> AsyncGenerator[bytes, None]:
        """Return what yields an empty piece once nothing can be refused any more, and then the archive."""
        return export.export(self._context, self._context.registry.resolve(ref))

    async def commit(self, ref: str, options: CommitOptions) -> str:
        """Make an image of a container; return its id."""
        container = self._context.registry.resolve(ref)
        return await self._context.complete(commit.commit(self._context, container, options))
