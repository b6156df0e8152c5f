"""The layer between an image and a container's own: mount points and files that the engine puts into every container.

dockerd makes one for each container (moby `daemon/initlayer/setup_unix.go`); so `docker diff` shows none of it, and an
image's `/etc/hosts` or a symbolic link `/proc` cannot get in the way of what is mounted there. What such a layer holds
depends on the image only by the attributes of two directories and by which mount points it lacks, so all images that
agree on these share one, and a container costs nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .marks import is_opaque

_KEPT_DIRECTORIES = ("dev", "etc")
_MOUNT_POINTS = ("dev/pts", "dev/shm", "proc", "sys")
_FILES = (".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf")
_MODE = 0o755


@dataclass(frozen=True, slots=True)
class DirectoryAttributes:
    mode: int
    uid: int
    gid: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class InitLayer:
    """What an image's init layer is made of: the attributes of `/dev` and `/etc`, and the mount points to add."""

    directories: tuple[DirectoryAttributes | None, ...]
    missing: tuple[str, ...]

    @property
    def name(self) -> str:
        """A name that is the same for all images that can share it."""
        kept = [
            "-" if kept is None else f"{kept.mode:o}.{kept.uid}.{kept.gid}.{kept.mtime_ns}" for kept in self.directories
        ]
        return ":".join(["init", *kept, *self.missing])

    def make(self, directory: Path) -> None:
        """Fill the empty `directory`. Its files are owned by root, as in dockerd's."""
        for name in (*_KEPT_DIRECTORIES, *self.missing):
            (directory / name).mkdir()
            (directory / name).chmod(_MODE)
        for name in _FILES:
            (directory / name).touch()
            (directory / name).chmod(_MODE)
        (directory / "etc/mtab").symlink_to("/proc/mounts")
        for name, kept in zip(_KEPT_DIRECTORIES, self.directories, strict=True):
            if kept is not None:
                os.chown(directory / name, kept.uid, kept.gid)
                os.chmod(directory / name, kept.mode)
                os.utime(directory / name, ns=(kept.mtime_ns, kept.mtime_ns))


def init_layer_for(layers: Sequence[Path]) -> InitLayer:
    """Look through an image's layer directories, uppermost first."""
    return InitLayer(
        directories=tuple(_find(layers, name) for name in _KEPT_DIRECTORIES),
        missing=tuple(name for name in _MOUNT_POINTS if _find(layers, name) is None),
    )


def _find(layers: Sequence[Path], name: str) -> DirectoryAttributes | None:
    """Return the attributes of a directory as a container would see it, None where the image has none of that name."""
    parent, _, _ = name.rpartition("/")
    for layer in layers:
        if parent:
            above = _lstat(layer / parent)
            if above is None:
                continue
            if not stat.S_ISDIR(above.st_mode):
                return None
        status = _lstat(layer / name)
        if status is not None:
            if not stat.S_ISDIR(status.st_mode):
                return None
            return DirectoryAttributes(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns)
        if parent and is_opaque(layer / parent):
            return None
    return None


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None
