"""Storage drivers: what a container's root is made of, given layers, which are the same for all of them.

`overlay2` is the kernel's overlay, `fuse-overlayfs` a program that does the same, for each container, and `vfs` a copy
of the whole tree for each container. One is chosen when the
daemon starts: the one that was asked for, or the one that containers of the data root have, or the first that works.

An overlay is tried twice: on the data root as it is and, where that cannot hold one (it may be an overlay itself), in a
file system of its own (`room.py`). That comes before what else there is because files are then read and written at the
kernel's speed, which through a program they are not, and shared by containers, which copies of an image are not.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..errors import Internal
from ..host import filesystem_type
from ..runtime import fuse
from . import room
from .marks import make_opaque, make_whiteout, remove_fuse_marks

logger = logging.getLogger(__name__)

_REMOVED = ("aufs", "devicemapper", "overlay")


class Driver(Protocol):
    """`copies` says that a snapshot is a tree of its own, made of those below it once.

    `filesystem` is the type of its mounts, `maps_ids` whether they can show other ids than there are on disk.
    """

    name: str
    filesystem: str
    copies: bool
    maps_ids: bool

    def take(self, directory: Path) -> None:
        """Make `directory` one that holds layers for this driver. Raises Internal, with the reason it cannot."""

    def mounts(self, snapshot: Path, lower: Sequence[str]) -> list[dict[str, Any]]:
        """Return what the runtime mounts as the root, for the snapshot's directory; `lower` is uppermost first."""

    def settle(self, upper: Path) -> None:
        """Make a snapshot's own directory, which nothing writes to any more, one that any driver takes as a layer."""

    def status(self, directory: Path) -> list[list[str]] | None:
        """Return what `docker info` shows of it."""


class Overlay:
    name = "overlay2"
    filesystem = "overlay"
    copies = False
    maps_ids = True

    def take(self, directory: Path) -> None:
        room.take(directory)

    def mounts(self, snapshot: Path, lower: Sequence[str]) -> list[dict[str, Any]]:
        return [
            {
                "type": self.filesystem,
                "lower": list(lower),
                "upper": str(snapshot / "fs"),
                "work": str(snapshot / "work"),
                "options": ["index=off"],
            }
        ]

    def settle(self, upper: Path) -> None:
        """There is nothing to do: layers are what the kernel's overlay has them."""

    def status(self, directory: Path) -> list[list[str]] | None:
        return [
            ["Backing Filesystem", filesystem_type(directory)],
            ["Supports d_type", "true"],
            ["userxattr", "false"],
        ]


class FuseOverlay(Overlay):
    name = "fuse-overlayfs"
    filesystem = fuse.NAME
    maps_ids = False

    def take(self, directory: Path) -> None:
        room.enter(directory)
        reason = room.unfit(directory, self.filesystem)
        if reason:
            raise Internal(reason)

    def settle(self, upper: Path) -> None:
        remove_fuse_marks(str(upper))

    def status(self, directory: Path) -> list[list[str]] | None:
        return []


class Vfs:
    name = "vfs"
    filesystem = "bind"
    copies = True
    maps_ids = True

    def take(self, directory: Path) -> None:
        room.enter(directory)
        with tempfile.TemporaryDirectory(prefix="probe-", dir=directory) as probe:
            try:
                _mark(probe)
            except OSError as error:
                raise Internal(f"layers cannot be kept on {filesystem_type(directory)}: {error.strerror}") from error

    def mounts(self, snapshot: Path, lower: Sequence[str]) -> list[dict[str, Any]]:
        return [{"type": self.filesystem, "source": str(snapshot / "fs"), "options": ["bind"]}]

    def settle(self, upper: Path) -> None:
        raise NotImplementedError("a copy is no layer")

    def status(self, directory: Path) -> list[list[str]] | None:
        return None


DRIVERS: dict[str, Driver] = {driver.name: driver for driver in (Overlay(), FuseOverlay(), Vfs())}
"""The best one first."""


def choose(directory: Path, *, asked: str, prior: Iterable[str], maps_ids: bool = False) -> Driver:
    """Return the driver for the layers in `directory`, ready for them; `prior` are those of containers there.

    With `maps_ids` it is one that can show containers other ids than there are on disk (`userns-remap`).
    Raises Internal, in dockerd's words (its `graphdriver.New`), where there is none, or none without a decision.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if asked:
        return _configured(directory, asked, maps_ids)
    # Copies are no reason to stay with copies.
    found = [name for name in DRIVERS if name in set(prior) and not DRIVERS[name].copies]
    if len(found) > 1:
        raise _failure(
            f"{directory.parent} contains several valid graphdrivers: {', '.join(found)}; "
            "cleanup or explicitly choose storage driver (-s <DRIVER>)"
        )
    for name in found or DRIVERS:
        try:
            return _taken(directory, name, maps_ids)
        except Internal as error:
            if found:
                raise _failure(f"prior storage driver {name} failed: {error}") from error
            logger.info("storage driver %s: not here: %s", name, error)
    raise _failure(f"no supported storage driver found for {directory}")


def _configured(directory: Path, name: str, maps_ids: bool) -> Driver:
    if name in _REMOVED:
        raise _failure(
            f"[graphdriver] ERROR: the {name} storage-driver has been deprecated and removed; "
            f"visit https://docs.docker.com/go/storage-driver/ for more information: {name}"
        )
    if name not in DRIVERS:
        raise _failure(f"driver not supported: {name}")
    try:
        return _taken(directory, name, maps_ids)
    except Internal as error:
        raise _failure(f"driver not supported: {name}: {error}") from error


def _taken(directory: Path, name: str, maps_ids: bool) -> Driver:
    if maps_ids and not DRIVERS[name].maps_ids:
        raise Internal("it cannot be used with userns-remap")
    DRIVERS[name].take(directory)
    return DRIVERS[name]


def _failure(reason: str) -> Internal:
    return Internal(f"error initializing graphdriver: {reason}")


def _mark(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        make_whiteout("whiteout", fd)
        make_opaque(fd)
    finally:
        os.close(fd)
