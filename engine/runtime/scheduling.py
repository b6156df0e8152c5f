"""A process's scheduling: policy, I/O priority, processors and memory policy, as the OCI spec words them."""

from __future__ import annotations

import os
import re

from . import linux
from .constants import IOPRIO_WHO_PGRP
from .errors import RuntimeFailure, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# <linux/sched.h>, <linux/ioprio.h>, <linux/mempolicy.h>
_POLICIES = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4, "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}  # fmt: skip
_SCHED_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01, "SCHED_FLAG_RECLAIM": 0x02, "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08, "SCHED_FLAG_KEEP_PARAMS": 0x10, "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}  # fmt: skip
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_MEMORY_MODES = {
    "MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5, "MPOL_WEIGHTED_INTERLEAVE": 6,
}  # fmt: skip
# More than there are does no harm: the kernel keeps those of the cpuset, now and when it grows.
_MAX_NODES = 1024
_ALL_PROCESSORS = frozenset(range(1024))
_MEMORY_FLAGS = {"MPOL_F_STATIC_NODES": 1 << 15, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_NUMA_BALANCING": 1 << 13}


def set_scheduler(scheduler: dict[str, Any] | None) -> None:
    if not scheduler:
        return
    attr = linux.SchedAttr(
        sched_policy=_lookup(_POLICIES, scheduler["policy"], "scheduler policy"),
        sched_nice=scheduler.get("nice", 0),
        sched_priority=scheduler.get("priority", 0),
        sched_runtime=scheduler.get("runtime", 0),
        sched_deadline=scheduler.get("deadline", 0),
        sched_period=scheduler.get("period", 0),
    )
    for flag in scheduler.get("flags") or ():
        attr.sched_flags |= _lookup(_SCHED_FLAGS, flag, "scheduler flag")
    try:
        linux.sched_setattr(attr)
    except OSError as error:
        raise RuntimeFailure("internal", f"error setting scheduler: {reason(error)}", error.errno or 0) from error


def set_io_priority(priority: dict[str, Any] | None) -> None:
    if not priority:
        return
    value = _lookup(_IO_CLASSES, priority["class"], "io priority class") << 13 | priority.get("priority", 0)
    try:
        linux.ioprio_set(IOPRIO_WHO_PGRP, 0, value)
    except OSError as error:
        raise RuntimeFailure("internal", f"failed to set io priority: {reason(error)}", error.errno or 0) from error


def set_memory_policy(policy: dict[str, Any] | None) -> None:
    if policy is None:
        return
    mode = _lookup(_MEMORY_MODES, policy.get("mode") or "", "memory policy mode")
    nodes = _nodes(policy.get("nodes") or "")
    if not mode and nodes:
        text = f"memory policy: mode requires 0 nodes but got {len(nodes)}"
        raise RuntimeFailure("invalid_argument", text)
    for flag in policy.get("flags") or ():
        mode |= _lookup(_MEMORY_FLAGS, flag, "memory policy flag")
    linux.set_mempolicy(mode, nodes)


def _nodes(text: str) -> set[int]:
    if any(int(number) >= _MAX_NODES for number in re.findall(r"\d+", text)):
        raise RuntimeFailure("invalid_argument", f"invalid memory policy node: {text}")
    return number_set(text) if text else set()


def set_affinity(processors: str | None) -> None:
    if processors:
        os.sched_setaffinity(0, number_set(processors))


def reset_affinity() -> None:
    """Allow all processors of the cgroup, whatever the caller of the runtime was bound to; called inside the cgroup."""
    os.sched_setaffinity(0, _ALL_PROCESSORS)


def number_set(text: str) -> set[int]:
    """Read the kernel's list format: "0-3,7"."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise RuntimeFailure("invalid_argument", f"invalid list of numbers {text!r}")
        numbers.update(range(int(first), int(last or first) + 1))
    return numbers


def _lookup(table: dict[str, int], name: str, what: str) -> int:
    if name not in table:
        raise RuntimeFailure("invalid_argument", f"invalid {what}: {name}")
    return table[name]
