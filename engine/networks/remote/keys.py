"""Where plugins find a container's network namespace: files in `<exec root>/netns`, as dockerd has them.

A namespace lives as long as its file, so that a plugin's link can go back to the host after the container has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from ...errors import Internal
from ...runtime import linux
from ...runtime.constants import MNT_DETACH, MS_BIND

logger = logging.getLogger(__name__)


def pin(directory: Path, sandbox_id: str, netns_fd: int) -> str:
    """Make the file of a namespace; return its path."""
    path = directory / sandbox_id[:12]
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.touch(mode=0o444)
        linux.mount(f"/proc/self/fd/{netns_fd}", str(path), "", MS_BIND)
    except OSError as error:
        unpin(str(path))
        raise Internal(f"giving the network namespace a file failed: {error}") from error
    return str(path)


def unpin(key: str) -> None:
    """Remove it; it may be gone."""
    with suppress(OSError):
        linux.umount2(key, MNT_DETACH)
    Path(key).unlink(missing_ok=True)
    with suppress(OSError):
        Path(key).parent.rmdir()  # the last one's


def sweep(directory: Path, keep: Collection[str]) -> None:
    """Remove those that no container has."""
    with suppress(FileNotFoundError):
        for path in directory.iterdir():
            if str(path) not in keep:
                logger.info("removing %s, which no container has", path)
                unpin(str(path))
