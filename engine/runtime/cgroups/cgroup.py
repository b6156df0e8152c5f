"""A container's control groups: what a driver can do, which driver this host needs, and where the groups are.

The runtime makes a group a container and puts its processes there; the shim reads statistics and waits for OOM kills.
v1 (and hybrid) hosts have one directory a controller, v2 hosts one directory in all.
"""

from __future__ import annotations

import os

from ..errors import RuntimeFailure
from . import v2_systemd
from .v1 import V1
from .v2 import V2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Cgroup(Protocol):
        """What both drivers do. Paths are absolute on the host."""

        @property
        def fds(self) -> list[int]:
            """Descriptors that a child needs to keep for `join`; opened by `open_for_join`."""

        @property
        def clone_fd(self) -> int:
            """The directory for CLONE_INTO_CGROUP, or -1."""

        def create(self, resources: dict[str, Any]) -> None:
            """Make the group's directories and apply its limits; undo both on failure."""

        def apply(self, resources: dict[str, Any]) -> None:
            """Apply an OCI linux.resources object; what it does not name stays."""

        def open_for_join(self, init_pid: int = 0) -> None:
            """Open, in the parent, what a child needs to enter; for an exec with the first process's pid."""

        def below(self, parts: dict[str, str]) -> Cgroup:
            """Return groups below these, by controllers ("" is all of them)."""

        def close(self) -> None:
            """Close what open_for_join has opened."""

        def join(self) -> None:
            """Enter the group; called by the child itself."""

        def add(self, pid: int) -> None:
            """Move a process, from outside, into what CLONE_INTO_CGROUP would have put it."""

        def mounts(self) -> list[tuple[str, str]]:
            """What a cgroup mount in the container shows: (controller names, directory); one ("", directory) for v2."""

        def pids(self) -> list[int]:
            """Processes of the group and the groups below it."""

        def freeze(self) -> None:
            """Stop all processes and wait until they are."""

        def thaw(self) -> None:
            """Let them go on."""

        def frozen(self) -> bool:
            """Are they stopped?"""

        def kill(self) -> None:
            """SIGKILL all of them, whatever they fork meanwhile."""

        def stats(self) -> dict[str, Any]:
            """Raw numbers, see the drivers."""

        def oom_fd(self) -> int:
            """What tells that memory runs out, or -1: readable with v1, with v2 the file with the counts."""

        def oom_kills(self) -> int:
            """How many processes the kernel has killed for want of memory."""

        def delete(self) -> None:
            """Remove the directories; processes must be gone or going."""

        def describe(self) -> dict[str, Any]:
            """What `load` needs to find the group again."""


ROOT = "/sys/fs/cgroup"


class Hierarchies:
    """The mounted hierarchies of this host: v1 directories by controllers, and the v2 tree."""

    def __init__(self, v1: dict[str, str], unified: str) -> None:
        self.v1 = v1
        self.unified = unified


_found: list[Hierarchies] = []


def hierarchies() -> Hierarchies:
    """Read the mount table once; the zygote does so before it forks."""
    if not _found:
        with open("/proc/self/mountinfo") as file:
            _found.append(parse_mountinfo(file.read()))
    return _found[0]


def parse_mountinfo(text: str) -> Hierarchies:
    """Find cgroup mounts; a v1 hierarchy is known by its controllers ("cpu,cpuacct") or by its name ("systemd")."""
    v1: dict[str, str] = {}
    unified = ""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if kind[0] == "cgroup2" and not unified:
            unified = fields[4]
        elif kind[0] == "cgroup":
            words = [word for word in kind[2].split(",") if word not in _NOT_CONTROLLERS and "=" not in word]
            names = [word[5:] for word in kind[2].split(",") if word.startswith("name=")]
            v1.setdefault(",".join(words) or ",".join(names), fields[4])
    return Hierarchies(v1, unified)


_NOT_CONTROLLERS = frozenset(("rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode", "favordynmods"))


def make(cgroups_path: str, id: str) -> Cgroup:
    """Return the driver for a new container's group.

    An absolute path is below each hierarchy's mount point; a relative or empty one is below the caller's own group,
    with v2 beside it, for a group that has processes cannot hand controllers down; `SLICE:PREFIX:NAME` is systemd's.
    """
    found = hierarchies()
    if v2_systemd.is_path(cgroups_path):
        if found.v1:
            raise RuntimeFailure("invalid_argument", "groups made by systemd need cgroup v2")
        return v2_systemd.make(found.unified or ROOT, cgroups_path)
    if not found.v1:
        beside = os.path.dirname(own_paths().get("", "/"))
        return V2(found.unified or ROOT, _place(cgroups_path, id, beside))
    own = {} if cgroups_path.startswith("/") else own_paths()
    paths = {name: mountpoint + _place(cgroups_path, id, own.get(name, "/")) for name, mountpoint in found.v1.items()}
    unified = found.unified + _place(cgroups_path, id, own.get("", "/")) if found.unified else ""
    return V1(paths, unified)


def load(description: dict[str, Any]) -> Cgroup:
    """Return the driver for a group that `describe` described."""
    if "unit" in description:
        return v2_systemd.SystemdV2(description["root"], description["path"], description["unit"])
    if description["version"] == 2:
        return V2(description["root"], description["path"])
    return V1(description["paths"], description["unified"])


def own_paths() -> dict[str, str]:
    """Return the caller's own groups: {controllers: path}, "" for the v2 tree."""
    paths: dict[str, str] = {}
    with open("/proc/self/cgroup") as file:
        for line in file:
            _, names, path = line.rstrip("\n").split(":", 2)
            paths[names.removeprefix("name=")] = path
    return paths


def _place(cgroups_path: str, id: str, own: str) -> str:
    """Return a clean path; ".." cannot lead above the hierarchy."""
    if cgroups_path.startswith("/"):
        return os.path.normpath("/" + cgroups_path.lstrip("/"))
    inner = os.path.normpath("/" + (cgroups_path or id))
    return own.rstrip("/") + inner
