"""A new filesystem as a detached mount, by the mount API of Linux 5.2 (fsopen, fsconfig, fsmount)."""

from __future__ import annotations

import os

from . import linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def new_filesystem(kind: str, source: str, data: Sequence[tuple[str, str | None]], attributes: int) -> int:
    """Make a filesystem and return it as a detached mount."""
    fs_fd = linux.fsopen(kind)
    try:
        if source:
            linux.fsconfig_string(fs_fd, "source", source)
        for key, value in data:
            if value is None:
                linux.fsconfig_flag(fs_fd, key)
            else:
                linux.fsconfig_string(fs_fd, key, value)
        linux.fsconfig_create(fs_fd)
        return linux.fsmount(fs_fd, attributes)
    finally:
        os.close(fs_fd)
