"""Files and directories of which only the Dockerfile knows: heredocs of COPY, and WORKDIR."""

from __future__ import annotations

import os
import posixpath

from ...containers.fileworker import Refused
from . import trees
from .copying import NEW, Change, ids_of, is_directory, make_room
from .modes import Mode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_FILE_MODE = 0o644


def write(
    target: Sequence[dict[str, Any]],
    files: Sequence[tuple[str, str]],
    destination: str,
    owner: tuple[str, str] | None,
    owners: Sequence[str],
    mode: str,
    created_at: int | None,
) -> None:
    """Make files, (name, content) each, in the destination, or as it where it is no directory."""
    destination = trees.cleaned(destination)
    change = Change(ids_of(owner, owners) or (0, 0), Mode(mode) if mode else None, created_at)
    with trees.writing(target) as root_fd:
        into_directory = len(files) > 1 or destination.endswith(("/", "/.")) or is_directory(root_fd, destination)
        for name, data in files:
            directory, base = (destination, name) if into_directory else posixpath.split(destination)
            directory_fd = change.make_directory(root_fd, directory)
            try:
                _write_file(directory_fd, base, data.encode("utf-8", "surrogateescape"), change)
            finally:
                os.close(directory_fd)


def _write_file(directory_fd: int, name: str, data: bytes, change: Change) -> None:
    make_room(directory_fd, name, name)
    with open(os.open(name, NEW, 0o600, dir_fd=directory_fd), "wb") as file:
        file.write(data)
        file.flush()
        os.fchown(file.fileno(), *(change.ids or (0, 0)))
        os.fchmod(file.fileno(), change.mode.apply(_FILE_MODE) if change.mode is not None else _FILE_MODE)
        if change.time_s is not None:
            os.utime(file.fileno(), (change.time_s, change.time_s))


def make_directory(
    target: Sequence[dict[str, Any]],
    path: str,
    owner: tuple[str, str] | None,
    owners: Sequence[str],
    created_at: int | None,
) -> None:
    """Make a directory and those above it that are missing."""
    change = Change(ids_of(owner, owners) or (0, 0), None, created_at)
    with trees.writing(target) as root_fd:
        try:
            os.close(change.make_directory(root_fd, trees.absolute(path)))
        except NotADirectoryError:
            raise Refused("invalid_argument", f"mkdir {path}: not a directory") from None
