"""What a step results in: a file system of layers, or a directory of a client's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .context import Context


@dataclass(frozen=True, slots=True)
class Tree:
    """`layers` are the snapshotter's names, the lowest first. `digests` is where those of a directory's files are
    remembered, `checksum` that of a fetched file."""

    layers: tuple[str, ...] = ()
    directory: Path | None = None
    digests: Path | None = None
    checksum: str = ""

    async def paths(self, context: Context) -> list[str]:
        """Return its directories, the uppermost first."""
        return [str(self.directory)] if self.directory is not None else await context.views.paths(self.layers)


EMPTY = Tree()
