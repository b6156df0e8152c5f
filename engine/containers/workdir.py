"""Whether a working directory can be one: refused at create where the image has something else there, as dockerd does.

The image's layers are looked at where they lie, without a mount. Links are left to the start, which resolves them
inside the container.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ..errors import InvalidArgument
from ..snapshots.marks import is_opaque, is_whiteout


def check(path: str, layers: Iterable[Path]) -> None:
    """Raise InvalidArgument where `path` (absolute and clean) is a file in `layers`, the uppermost first."""
    parts = path.strip("/").split("/") if path.strip("/") else []
    for layer in layers:
        if _settles(layer, parts, path):
            return


def _settles(layer: Path, parts: list[str], path: str) -> bool:
    """Look at one layer; return whether those below it can no longer matter."""
    hides_lower = False
    at = str(layer)
    for part in parts:
        at = f"{at}/{part}"
        try:
            info = os.lstat(at)
        except OSError:
            return hides_lower
        if is_whiteout(info) or stat.S_ISLNK(info.st_mode):
            return True
        if not stat.S_ISDIR(info.st_mode):
            raise InvalidArgument(f"Cannot mkdir: {path} is not a directory")
        hides_lower = hides_lower or is_opaque(at)
    return True
