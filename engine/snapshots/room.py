"""A place for layers, where the data root's own file system is none that an overlay can write to.

An overlay cannot lie on another one, which a container's root is, nor on most network file systems. There layers get an
ext4 of their own, in a file beside them that takes as much space as they do, through a loop device. Overlays on it then
are what they are elsewhere. Called before the snapshots are opened, and when the daemon has let go of them.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import Internal
from ..runtime import linux
from ..runtime.errors import RuntimeFailure
from ..runtime.overlay import new_overlay

logger = logging.getLogger(__name__)

_MOST = 1 << 40
"""No file system is larger than this: ext4's own tables grow with it."""


def take(directory: Path) -> None:
    """Make `directory` one that holds layers. Raises Internal where this machine has no way to do that."""
    directory.mkdir(parents=True, exist_ok=True)
    enter(directory)
    reason = unfit(directory)
    if not reason:
        return
    file = directory.with_suffix(".ext4")
    logger.info("%s: no overlay can be written to here (%s), layers go into %s", directory, reason, file)
    with _explained(directory, reason):
        if os.listdir(directory):
            raise FileExistsError("there are layers of another storage driver")
        _format(file)
        _mount(file, directory)
    if reason := unfit(directory):
        # It is not for the file system: the kernel has no overlay, or this process may not mount one
        leave(directory)
        file.unlink()
        raise Internal(f"no overlay can be made: {reason}")


def enter(directory: Path) -> None:
    """Make what `take` has made for a directory accessible again."""
    file = directory.with_suffix(".ext4")
    if file.exists() and not directory.is_mount():
        with _explained(directory, "layers are in a file"):
            _mount(file, directory)


@contextmanager
def _explained(directory: Path, reason: str) -> Iterator[None]:
    try:
        yield
    except (OSError, subprocess.CalledProcessError) as error:
        why = (getattr(error, "stderr", None) or str(error)).strip()
        raise Internal(
            f"{directory}: its file system cannot hold layers ({reason}), and none could be made in a file: {why}; "
            "use another data root, or a volume there"
        ) from error


def leave(directory: Path) -> None:
    """Unmount what `take` has mounted. For a daemon that stops, with nothing running on the layers."""
    if directory.with_suffix(".ext4").exists() and directory.is_mount():
        with suppress(OSError):
            linux.umount2(str(directory), 0)


def unfit(directory: Path, kind: str = "overlay") -> str:
    """Return why no overlay (or what else is of that `kind`) can be written to in a directory, by trying; empty where
    one can."""
    probe = Path(tempfile.mkdtemp(prefix="probe-", dir=directory))
    try:
        for name in ("lower", "upper", "work"):
            (probe / name).mkdir()
        entry: dict[str, Any] = {
            "type": kind,
            "lower": [str(probe / "lower")],
            "upper": str(probe / "upper"),
            "work": str(probe / "work"),
        }
        os.close(new_overlay({**entry, "options": ["index=off"]}, in_own_namespace=False))
        os.mknod(probe / "upper/whiteout", 0o020000, 0)
        os.setxattr(probe / "upper", "trusted.overlay.opaque", b"y")
    except (OSError, RuntimeFailure) as error:
        return str(error)
    finally:
        shutil.rmtree(probe)
    return ""


def _format(file: Path) -> None:
    """Make the file system, as large as there is space for; what is not used takes none."""
    room = os.statvfs(file.parent)
    draft = file.with_suffix(".new")
    with draft.open("wb") as empty:
        empty.truncate(min(room.f_bavail * room.f_frsize, _MOST))
    _run("mkfs.ext4", "-q", "-F", "-m", "0", str(draft))
    draft.rename(file)


def _mount(file: Path, directory: Path) -> None:
    _run("mount", "-o", "loop,discard", str(file), str(directory))


def _run(*command: str) -> None:
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
