"""Control groups v2 where systemd makes them: each container is a scope, below a slice.

A path is `SLICE:PREFIX:NAME`, as runc takes it with --systemd-cgroup; the unit is PREFIX-NAME.scope. systemd writes
what it knows again whenever it likes, so limits are told to it too; what it does not know, and the devices, is written
to the group, which is delegated to us. A scope that is forgotten ends with its last
process.
"""

from __future__ import annotations

import os
import signal
import time

from .. import linux, trace
from ..constants import PR_SET_PDEATHSIG
from ..errors import RuntimeFailure
from . import v2_limits
from .systemd import Manager
from .v2 import V2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .systemd import Property

DEFAULT_SLICE = "system.slice"
_MAX = 2**64 - 1
_LEAVE_S = 2.0
_US_PER_S = 1_000_000
_QUOTA_STEP_US = 10_000


def is_path(cgroups_path: str) -> bool:
    """Whether a cgroupsPath is meant for systemd."""
    slice_, *rest = cgroups_path.split(":")
    return len(rest) == 2 and "/" not in cgroups_path and (not slice_ or slice_.endswith(".slice"))


class SystemdV2(V2):
    """A container's scope; its group is where systemd puts it."""

    def __init__(self, root: str, path: str, unit: str) -> None:
        super().__init__(root, path)
        self._unit = unit
        self._holder_pid = 0

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "unit": self._unit}

    def create(self, resources: dict[str, Any]) -> None:
        """Start the scope with a process that holds it until the container's first one is there."""
        self._holder_pid = _hold()
        try:
            with Manager() as manager:
                self._start(manager, properties(resources))
            super().apply(resources)
        except BaseException:
            self.delete()
            raise

    def _start(self, manager: Manager, limits: list[Property]) -> None:
        slice_ = os.path.basename(os.path.dirname(self._path)) or "-.slice"
        name = self._unit.removesuffix(".scope")
        about: list[Property] = [
            ("Description", ("s", f"lightship container {name}")),
            ("Slice", ("s", slice_)),
            ("PIDs", ("au", [self._holder_pid])),
            ("Delegate", ("b", True)),
            ("DefaultDependencies", ("b", False)),
            ("CollectMode", ("s", "inactive-or-failed")),
            *((f"{what}Accounting", ("b", True)) for what in ("CPU", "Memory", "IO", "Tasks")),
        ]
        deadline = time.monotonic() + _LEAVE_S
        while True:
            try:
                manager.start_scope(self._unit, [*about, *limits])
                trace.note("systemd started", self._unit)
                return
            except RuntimeFailure as failure:
                # The scope of the run before, which systemd has not noticed to be over.
                if failure.kind != "conflict" or self.pids() or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def apply(self, resources: dict[str, Any]) -> None:
        if limits := properties(resources):
            with Manager() as manager:
                manager.set_properties(self._unit, limits)
        super().apply(resources)

    def close(self) -> None:
        super().close()
        self._release()

    def delete(self) -> None:
        """Stop the scope: systemd does not see that a group is empty which goes at the same time."""
        self._release()
        with Manager() as manager:
            manager.stop(self._unit)
        super().delete()

    def _release(self) -> None:
        if self._holder_pid:
            os.kill(self._holder_pid, signal.SIGKILL)
            os.waitpid(self._holder_pid, 0)
            self._holder_pid = 0


def make(root: str, cgroups_path: str) -> SystemdV2:
    """Return the driver for a new scope: below system.slice where the path names no slice."""
    slice_, prefix, name = cgroups_path.split(":")
    unit = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    return SystemdV2(root, f"{slice_path(slice_ or DEFAULT_SLICE)}/{unit}", unit)


def slice_path(name: str) -> str:
    """Return a slice's group: `a-b.slice` is below `a.slice`, `-.slice` is the root (systemd.slice(5))."""
    words = name.removesuffix(".slice").split("-")
    if name == "-.slice":
        return ""
    if not all(words):
        raise RuntimeFailure("invalid_argument", f"invalid slice name: {name}")
    return "".join(f"/{'-'.join(words[: count + 1])}.slice" for count in range(len(words)))


def properties(resources: dict[str, Any]) -> list[Property]:
    """Return the limits that systemd has names for."""
    memory, cpu = resources.get("memory") or {}, resources.get("cpu") or {}
    found: list[Property] = []
    limit = memory.get("limit") or 0
    swap = v2_limits.swap_max(memory.get("swap") or 0, limit)
    for name, value in (("MemoryMax", limit), ("MemoryLow", memory.get("reservation"))):
        if value:
            found.append((name, ("t", _MAX if value < 0 else value)))
    if swap:
        found.append(("MemorySwapMax", ("t", _MAX if swap == "max" else int(swap))))
    if cpu.get("shares"):
        found.append(("CPUWeight", ("t", v2_limits.weight_of_shares(cpu["shares"]))))
    found += _quota(cpu.get("quota") or 0, cpu.get("period") or 0)
    for key, name in (("cpus", "AllowedCPUs"), ("mems", "AllowedMemoryNodes")):
        if cpu.get(key):
            found.append((name, ("ay", _mask(cpu[key]))))
    tasks = (resources.get("pids") or {}).get("limit")
    if tasks is not None:
        found.append(("TasksMax", ("t", _MAX if tasks < 0 else tasks or 1)))
    return found


def _quota(quota_us: int, period_us: int) -> list[Property]:
    """Quotas are per second there, and in steps of 1 %."""
    found: list[Property] = [("CPUQuotaPeriodUSec", ("t", period_us))] if period_us else []
    if quota_us < 0:
        found.append(("CPUQuotaPerSecUSec", ("t", _MAX)))
    elif quota_us:
        per_second = quota_us * _US_PER_S // (period_us or 100_000)
        found.append(("CPUQuotaPerSecUSec", ("t", per_second + -per_second % _QUOTA_STEP_US)))
    return found


def _mask(numbers: str) -> bytes:
    """Return "0-2,5" as a bit for each number, the lowest first."""
    bits = 0
    for part in numbers.split(","):
        first, _, last = part.partition("-")
        for number in range(int(first), int(last or first) + 1):
            bits |= 1 << number
    return bits.to_bytes(bits.bit_length() // 8 + 1, "little")


def _hold() -> int:
    """Fork a process that does nothing; a scope cannot be started without any."""
    pid = os.fork()
    if pid == 0:
        try:
            linux.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.closerange(0, 1 << 16)
            while True:
                signal.pause()
        finally:
            os._exit(0)
    return pid
