"""Control groups v2: one directory for all controllers.

Limits are in `v2_limits.py`, device rules in `v2_devices.py`. `root` is where the tree is mounted; tests give a plain
directory, in which the kernel's files are ordinary ones.
"""

from __future__ import annotations

import errno
import os
import select
import signal

from .. import trace
from ..errors import RuntimeFailure, reason
from . import files, v2_devices, v2_limits, v2_stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FREEZE_MS = 2000


class V2:
    """A container's group at `path` below `root`."""

    def __init__(self, root: str, path: str) -> None:
        self._root = root
        self._path = path
        self._directory = root + path
        self._clone_fd = -1

    @property
    def fds(self) -> list[int]:
        return []

    @property
    def clone_fd(self) -> int:
        return self._clone_fd

    def describe(self) -> dict[str, Any]:
        return {"version": 2, "root": self._root, "path": self._path}

    def create(self, resources: dict[str, Any]) -> None:
        """Make the directory; every controller that there is gets enabled on the way down."""
        made: list[str] = []
        try:
            self._make(made)
            self.apply(resources)
        except BaseException:
            for path in reversed(made):
                os.rmdir(path)
            raise

    def _make(self, made: list[str]) -> None:
        try:
            os.mkdir(self._directory, 0o755)
        except FileExistsError:
            count = len(files.pids(self._directory))
            if count:
                text = f"container's cgroup is not empty: {count} process(es) found"
                raise RuntimeFailure("conflict", text) from None
            if self.frozen():
                raise RuntimeFailure("conflict", "container's cgroup unexpectedly frozen") from None
            return
        except FileNotFoundError:
            self._make_parents()
            os.mkdir(self._directory, 0o755)
        made.append(self._directory)
        trace.note("made control group", self._directory)
        parent = os.path.dirname(self._directory)
        if self._missing_controllers(parent):
            self._enable_controllers()

    def _make_parents(self) -> None:
        current = self._root
        for name in self._path.strip("/").split("/")[:-1]:
            current = f"{current}/{name}"
            os.makedirs(current, 0o755, exist_ok=True)

    def _missing_controllers(self, directory: str) -> list[str]:
        enabled = files.read(directory, "cgroup.subtree_control").split()
        return [name for name in files.read(self._root, "cgroup.controllers").split() if name not in enabled]

    def _enable_controllers(self) -> None:
        """Enable from the top; what is refused (no delegation, processes inside) shows when a limit needs it."""
        current = self._root
        for name in ("", *self._path.strip("/").split("/")[:-1]):
            current = f"{current}/{name}" if name else current
            for controller in self._missing_controllers(current):
                try:
                    files.write(current, "cgroup.subtree_control", f"+{controller}")
                except RuntimeFailure:
                    continue

    def apply(self, resources: dict[str, Any]) -> None:
        v2_limits.apply(self._directory, resources)
        if "devices" in resources:
            v2_devices.apply(self._directory, resources["devices"] or [])

    def below(self, parts: dict[str, str]) -> V2:
        for controller in parts:
            if controller:
                raise RuntimeFailure("invalid_argument", f"unknown controller {controller} in SubCgroupPaths")
        return V2(self._root, files.below(self._directory, parts[""])[len(self._root) :])

    def open_for_join(self, init_pid: int = 0) -> None:
        directory = self._directory
        if init_pid and files.read(directory, "cgroup.subtree_control"):
            # An init that manages groups itself (systemd) has left this one, which takes no process any more.
            directory = self._root + _group_of(init_pid)
        self._clone_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        if self._clone_fd >= 0:
            os.close(self._clone_fd)
        self._clone_fd = -1

    def join(self) -> None:
        """Nothing: the process was cloned into the group or put there by `add`."""
        self._clone_fd = -1

    def add(self, pid: int) -> None:
        directory = os.readlink(f"/proc/self/fd/{self._clone_fd}") if self._clone_fd >= 0 else self._directory
        try:
            files.write(directory, "cgroup.procs", pid)
        except RuntimeFailure as failure:
            text = f"unable to apply cgroup configuration: {failure.message}"
            raise RuntimeFailure("internal", text, failure.errno) from failure

    def mounts(self) -> list[tuple[str, str]]:
        return [("", self._directory)]

    def pids(self) -> list[int]:
        return files.pids(self._directory)

    def freeze(self) -> None:
        files.write(self._directory, "cgroup.freeze", 1)
        self._wait_frozen()

    def _wait_frozen(self) -> None:
        """The kernel tells a change of cgroup.events as an exceptional condition."""
        fd = os.open(f"{self._directory}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        try:
            poll = select.poll()
            poll.register(fd, select.POLLPRI)
            while "frozen 1" not in os.pread(fd, 4096, 0).decode():
                if not poll.poll(_FREEZE_MS):
                    files.write(self._directory, "cgroup.freeze", 0)
                    raise RuntimeFailure("internal", "unable to freeze", errno.EBUSY)
        finally:
            os.close(fd)

    def thaw(self) -> None:
        files.write(self._directory, "cgroup.freeze", 0)

    def frozen(self) -> bool:
        try:
            return files.read(self._directory, "cgroup.freeze") == "1"
        except OSError:
            return False

    def kill(self) -> None:
        if files.exists(self._directory, "cgroup.kill"):
            files.write(self._directory, "cgroup.kill", 1)
            return
        # Before Linux 5.14: nothing may fork between the look and the signal.
        self.freeze()
        try:
            for pid in self.pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        finally:
            self.thaw()

    def stats(self) -> dict[str, Any]:
        """See v2_stats.read."""
        return v2_stats.read(self._directory)

    def oom_fd(self) -> int:
        """memory.events itself, of which the kernel tells changes as exceptional conditions.

        Whoever has it open reads in time: systemd removes a scope's group as soon as it is empty.
        """
        try:
            return os.open(f"{self._directory}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return -1

    def oom_kills(self) -> int:
        return files.table(self._directory, "memory.events").get("oom_kill", 0)

    def delete(self) -> None:
        files.remove(self._directory)


def _group_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cgroup") as file:
            return next((line[3:].rstrip("\n") for line in file if line.startswith("0::")), "/")
    except OSError as error:
        text = f"unable to find the container's cgroup: {reason(error)}"
        raise RuntimeFailure("internal", text, error.errno or 0) from error
