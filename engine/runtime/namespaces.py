"""Which namespaces a container gets new, which it joins, and the maps of a user namespace."""

from __future__ import annotations

import os

from . import linux
from .constants import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)
from .errors import RuntimeFailure, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FLAGS = {
    "cgroup": CLONE_NEWCGROUP,
    "ipc": CLONE_NEWIPC,
    "mount": CLONE_NEWNS,
    "network": CLONE_NEWNET,
    "pid": CLONE_NEWPID,
    "time": CLONE_NEWTIME,
    "user": CLONE_NEWUSER,
    "uts": CLONE_NEWUTS,
}
"""The names of the OCI spec."""

_FILES = {"mount": "mnt", "network": "net"}
# A mount namespace comes late (paths change with it), a user namespace last: others need not belong to it, and once in
# it we may join only those that do.
_JOIN_ORDER = ("network", "ipc", "uts", "cgroup", "time", "mount", "user")


class Namespaces:
    """A spec's namespaces: the flags of those to make, and open descriptors of those to join."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.new = 0
        self.joined: dict[str, int] = {}
        entries = spec.get("linux", {}).get("namespaces", ())
        try:
            for entry in entries:
                self._add(entry["type"], entry.get("path"))
        except BaseException:
            self.close()
            raise

    def _add(self, kind: str, path: str | None) -> None:
        if kind not in FLAGS:
            raise RuntimeFailure("invalid_argument", f"namespace {kind!r} does not exist")
        if kind in self.joined or self.new & FLAGS[kind]:
            raise RuntimeFailure("invalid_argument", f'malformed spec file: duplicated ns "{kind}"')
        if not path:
            self.new |= FLAGS[kind]
            return
        try:
            self.joined[kind] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            message = f"lstat {path}: {reason(error)}"
            raise RuntimeFailure("invalid_argument", message, error.errno or 0) from error

    def has(self, kind: str) -> bool:
        """Is this namespace other than the caller's?"""
        return bool(self.new & FLAGS[kind]) or kind in self.joined

    def is_separate(self, kind: str) -> bool:
        """Is this namespace really another one? A joined path may lead to the caller's own."""
        fd = self.joined.get(kind)
        if fd is None:
            return bool(self.new & FLAGS[kind])
        return os.fstat(fd).st_ino != os.stat(f"/proc/self/ns/{_FILES.get(kind, kind)}").st_ino

    @property
    def flags(self) -> int:
        """Return the flags of all that differ from the caller's: what a later exec has to join."""
        flags = self.new
        for kind in self.joined:
            flags |= FLAGS[kind]
        return flags

    def to_enter(self) -> list[int]:
        """Return the descriptors that `join` needs: all but that of the pid namespace, which only a fork can enter."""
        return [fd for kind, fd in self.joined.items() if kind != "pid"]

    def join(self) -> None:
        """Enter them, in the child; the descriptors end here."""
        for kind in _JOIN_ORDER:
            fd = self.joined.get(kind)
            if fd is None:
                continue
            try:
                linux.setns(fd, FLAGS[kind])
                os.close(fd)
            except OSError as error:
                message = f"failed to setns into {kind} namespace: {reason(error)}"
                raise RuntimeFailure("internal", message, error.errno or 0) from error

    def close(self) -> None:
        """Close the parent's descriptors."""
        for fd in self.joined.values():
            os.close(fd)
        self.joined = {}


def owner_of(linux_spec: dict[str, Any]) -> list[int] | None:
    """Return who the root of a user namespace is outside, None without one."""
    ids = [
        next((entry["hostID"] for entry in linux_spec.get(kind) or () if entry["containerID"] == 0), -1)
        for kind in ("uidMappings", "gidMappings")
    ]
    return None if min(ids) < 0 else ids


def write_id_maps(pid: int, linux_spec: dict[str, Any]) -> None:
    """Map the ids of a new user namespace, from outside."""
    for name, key in (("uid_map", "uidMappings"), ("gid_map", "gidMappings")):
        lines = [f"{m['containerID']} {m['hostID']} {m['size']}" for m in linux_spec.get(key) or ()]
        _write(f"/proc/{pid}/{name}", "\n".join(lines))


def write_time_offsets(pid: int | str, offsets: dict[str, dict[str, int]] | None) -> None:
    """Set the clocks of the time namespace that a process has made; possible only while nobody is in it."""
    for clock, offset in (offsets or {}).items():
        _write(f"/proc/{pid}/timens_offsets", f"{clock} {offset.get('secs', 0)} {offset.get('nanosecs', 0)}")


def enter_time_namespace() -> None:
    """Move into the time namespace that this process has made."""
    fd = os.open("/proc/self/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)
    try:
        linux.setns(fd, CLONE_NEWTIME)
    finally:
        os.close(fd)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
