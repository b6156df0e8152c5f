"""A root made by the program fuse-overlayfs, where the kernel's overlay is not to be had; as a detached mount.

The program is handed the file system's descriptor, so it needs no mount point, and it ends with the last mount of what
it serves: with the container, or with the descriptor of whoever reads it. It makes itself a daemon, a child of init, so
that it outlives the engine's processes. What it marks in the upper directory is what the kernel's overlay would, and
files beside that (`snapshots/marks.py`).
"""

from __future__ import annotations

import os
import stat

from . import linux, mount_options
from .constants import CLONE_NEWNS
from .errors import RuntimeFailure
from .filesystem import new_filesystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME = "fuse-overlayfs"
_DEVICE = "/dev/fuse"
_PARAMETERS = (
    ("subtype", NAME), ("rootmode", f"{stat.S_IFDIR:o}"), ("user_id", "0"), ("group_id", "0"),
    ("default_permissions", None), ("allow_other", None),
)  # fmt: skip
_home_fd = -1


def is_served(entry: dict[str, Any]) -> bool:
    return entry.get("type") == NAME


def note_namespace() -> None:
    """Start programs in this mount namespace, which the process is about to leave for one of its own.

    One that lived in the other would keep it, and in it the mount that it is itself there for, for good.
    """
    global _home_fd
    if _home_fd < 0:
        _home_fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def new_fuse_overlay(entry: dict[str, Any]) -> int:
    """Return the tree of `lower` (the top first), `upper` and `work`; with no `upper` it is read-only."""
    if entry.get("id_map"):
        raise RuntimeFailure("not_implemented", f"{NAME} cannot show files with the ids of a user namespace")
    places = {"lowerdir": entry["lower"]}
    if entry.get("upper"):
        places |= {"upperdir": [entry["upper"]], "workdir": [entry["work"]]}
    options = mount_options.parse(entry.get("options") or ())
    mount_fd, complaint = _served(places, options.attr_set)
    try:
        os.stat(f"/proc/self/fd/{mount_fd}/.")
    except OSError as error:
        os.close(mount_fd)
        raise RuntimeFailure("internal", f"{NAME}: {complaint or error.strerror}", error.errno or 0) from error
    return mount_fd


def _served(places: dict[str, list[str]], attributes: int) -> tuple[int, str]:
    """Return the mount, and what the program complained of. Nobody but the program has the device then."""
    device_fd = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        mount_fd = new_filesystem("fuse", NAME, [("fd", str(device_fd)), *_PARAMETERS], attributes)
        try:
            return mount_fd, _serve(device_fd, places)
        except BaseException:
            os.close(mount_fd)
            raise
    finally:
        os.close(device_fd)


def _serve(device_fd: int, places: dict[str, list[str]]) -> str:
    """Start the program, and wait until it serves, or has ended; return what it complained of.

    Its paths begin at a descriptor: there may be anything in the names of directories above.
    """
    common = os.path.commonpath([path for paths in places.values() for path in paths])
    common_fd = os.open(common, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    reader, writer = os.pipe()
    try:
        words = [
            f"{key}={':'.join(_below(common_fd, common, path) for path in paths)}" for key, paths in places.items()
        ]
        # Without its cache for writing, what is written is in the upper directory at once: it is read from there
        command = [NAME, "-o", ",".join([*words, "writeback=0"]), f"/dev/fd/{device_fd}"]
        kept = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in (device_fd, common_fd)]
        pid = _spawn(command, [*kept, (os.POSIX_SPAWN_DUP2, writer, 2)])
        os.close(writer)
        writer = -1
        complaint = b""
        while chunk := os.read(reader, 4096):
            complaint += chunk
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass  # the zygote's handler was faster
        return complaint.decode(errors="replace").strip()
    finally:
        for fd in (common_fd, reader, writer):
            if fd >= 0:
                os.close(fd)


def _below(common_fd: int, common: str, path: str) -> str:
    return os.path.normpath(f"/proc/self/fd/{common_fd}/{os.path.relpath(path, common)}")


def _spawn(command: list[str], file_actions: list[tuple[int, int, int]]) -> int:
    own_fd = -1
    if _home_fd >= 0:
        own_fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        linux.setns(_home_fd, CLONE_NEWNS)
    try:
        environment = {"PATH": os.environ.get("PATH", os.defpath)}
        return os.posix_spawnp(command[0], command, environment, file_actions=file_actions, setsigmask=())
    finally:
        if own_fd >= 0:
            linux.setns(own_fd, CLONE_NEWNS)
            os.close(own_fd)
