"""Control groups v1 (and hybrid hosts): one directory a mounted controller.

Limits are in `v1_limits.py`. A process enters through each hierarchy's `tasks` file by writing 0 for itself: that one
way needs no grace period of the kernel's thread group lock, which costs 10 ms where `cgroup.procs` is used.
"""

from __future__ import annotations

import errno
import os
import signal
import time

from .. import trace
from ..errors import RuntimeFailure, reason
from . import files, v1_limits, v1_stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FREEZE_TRIES = 1000


class V1:
    """A container's groups: `paths` by controllers ("cpu,cpuacct"), `unified` the v2 directory of a hybrid host."""

    def __init__(self, paths: dict[str, str], unified: str) -> None:
        self._paths = paths
        self._unified = unified
        self._by_controller = {name: path for names, path in paths.items() for name in names.split(",")}
        self._fds: list[int] = []
        self._clone_fd = -1

    @property
    def fds(self) -> list[int]:
        return self._fds

    @property
    def clone_fd(self) -> int:
        return self._clone_fd

    def describe(self) -> dict[str, Any]:
        return {"version": 1, "paths": self._paths, "unified": self._unified}

    def create(self, resources: dict[str, Any]) -> None:
        made: list[str] = []
        try:
            for names, path in self._all():
                self._make(path, made)
                if "cpuset" in names.split(","):
                    v1_limits.inherit_cpuset(path)
            self.apply(resources)
        except BaseException:
            for path in reversed(made):
                os.rmdir(path)
            raise

    def _all(self) -> list[tuple[str, str]]:
        return [*self._paths.items(), *([("", self._unified)] if self._unified else [])]

    def _make(self, path: str, made: list[str]) -> None:
        try:
            os.mkdir(path, 0o755)
        except FileExistsError:
            self._check_free(path)
            return
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            os.mkdir(path, 0o755)
        except OSError as error:
            message = f"unable to apply cgroup configuration: mkdir {path}: {reason(error)}"
            raise RuntimeFailure("internal", message, error.errno or 0) from error
        made.append(path)
        trace.note("made control group", path)

    def _check_free(self, path: str) -> None:
        if files.pids(path):
            count = len(files.pids(path))
            raise RuntimeFailure("conflict", f"container's cgroup is not empty: {count} process(es) found")
        if path == self._by_controller.get("freezer") and self.frozen():
            raise RuntimeFailure("conflict", "container's cgroup unexpectedly frozen")

    def apply(self, resources: dict[str, Any]) -> None:
        v1_limits.apply(self._by_controller, resources)

    def below(self, parts: dict[str, str]) -> V1:
        paths = dict(self._paths)
        for controller, part in parts.items():
            chosen = [names for names in paths if not controller or controller in names.split(",")]
            if not chosen:
                raise RuntimeFailure("invalid_argument", f"unknown controller {controller} in SubCgroupPaths")
            for names in chosen:
                paths[names] = files.below(self._paths[names], part)
        return V1(paths, self._unified)

    def open_for_join(self, init_pid: int = 0) -> None:
        """`init_pid` does not matter here: a v1 group takes processes whatever is below it."""
        for path in self._paths.values():
            self._fds.append(os.open(f"{path}/tasks", os.O_WRONLY | os.O_CLOEXEC))
        if self._unified:
            self._clone_fd = os.open(self._unified, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        for fd in (*self._fds, *([self._clone_fd] if self._clone_fd >= 0 else [])):
            os.close(fd)
        self._fds, self._clone_fd = [], -1

    def join(self) -> None:
        for fd in self._fds:
            try:
                os.write(fd, b"0")
            except OSError as error:
                message = f"unable to apply cgroup configuration: {os.strerror(error.errno or 0)}"
                raise RuntimeFailure("internal", message, error.errno or 0) from error
            os.close(fd)
        self._fds, self._clone_fd = [], -1

    def add(self, pid: int) -> None:
        """Into the v2 tree only: the process enters the others itself."""
        files.write(self._unified, "cgroup.procs", pid)

    def mounts(self) -> list[tuple[str, str]]:
        return list(self._paths.items())

    def pids(self) -> list[int]:
        return files.pids(self._any_path())

    def _any_path(self) -> str:
        for name in ("pids", "devices", "memory"):
            if name in self._by_controller:
                return self._by_controller[name]
        return next(iter(self._paths.values()))

    def _freezer(self) -> str:
        if "freezer" not in self._by_controller:
            raise RuntimeFailure("not_implemented", "this host has no freezer controller")
        return self._by_controller["freezer"]

    def freeze(self) -> None:
        """Write FROZEN until it is so: a fork at the wrong moment leaves the group half frozen and wants a thaw."""
        path = self._freezer()
        for attempt in range(_FREEZE_TRIES):
            if attempt % 50 == 49:
                files.write(path, "freezer.state", "THAWED")
            files.write(path, "freezer.state", "FROZEN")
            if files.read(path, "freezer.state") == "FROZEN":
                return
            time.sleep(0.00001 * min(attempt, 100))
        files.write(path, "freezer.state", "THAWED")
        raise RuntimeFailure("internal", "unable to freeze", errno.EBUSY)

    def thaw(self) -> None:
        files.write(self._freezer(), "freezer.state", "THAWED")

    def frozen(self) -> bool:
        try:
            return files.read(self._freezer(), "freezer.state") in ("FROZEN", "FREEZING")
        except (OSError, RuntimeFailure):
            return False

    def kill(self) -> None:
        """Kill at once by the v2 tree where the host has it, else one by one with the group frozen."""
        if self._unified and files.exists(self._unified, "cgroup.kill"):
            files.write(self._unified, "cgroup.kill", 1)
            if "freezer" in self._by_controller:
                self.thaw()  # frozen processes of v1 do not die before they are thawed
            return
        if "freezer" in self._by_controller:
            self.freeze()
        try:
            for pid in self.pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        finally:
            if "freezer" in self._by_controller:
                self.thaw()

    def stats(self) -> dict[str, Any]:
        """See v1_stats.read."""
        return v1_stats.read(self._by_controller)

    def oom_fd(self) -> int:
        """An eventfd registered with memory.oom_control."""
        path = self._by_controller.get("memory")
        if path is None:
            return -1
        control_fd = os.open(f"{path}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        event_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            files.write(path, "cgroup.event_control", f"{event_fd} {control_fd}")
        except BaseException:
            os.close(event_fd)
            raise
        finally:
            os.close(control_fd)
        return event_fd

    def oom_kills(self) -> int:
        path = self._by_controller.get("memory")
        return files.table(path, "memory.oom_control").get("oom_kill", 0) if path else 0

    def delete(self) -> None:
        for _, path in self._all():
            files.remove(path)
