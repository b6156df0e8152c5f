"""A process that does a build's file work for the daemon; see `containers/fileworkers.py` for the other end."""

from __future__ import annotations

from ..containers.fileworker import diff, export, serve
from ..snapshots.layer import tree_size
from .fileops import checksum, copying, reading, stubs, writing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


def _sized(change: Callable[..., None]) -> Callable[..., int]:
    """Have a change of a snapshot return the size of what is the snapshot's own then, 0 where that is a copy of all."""

    def changed(target: Sequence[dict[str, Any]], **job: Any) -> int:
        change(target, **job)
        return tree_size(target[-1]["upper"]) if "upper" in target[-1] else 0

    return changed


JOBS: dict[str, Callable[..., Any]] = {
    "checksum": checksum.checksum,
    "copy": _sized(copying.copy),
    "fill": copying.fill,
    "clean": stubs.clean,
    "write": _sized(writing.write),
    "make_directory": _sized(writing.make_directory),
    "read": reading.read,
    "describe": reading.describe,
    "kind": reading.kind,
    "list": reading.list_directory,
    "diff": diff,
    "export": export,
}

if __name__ == "__main__":
    serve(JOBS)
