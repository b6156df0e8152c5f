"""Which capabilities a container's processes get: Docker's default set, with what was added and dropped.

Names are checked when a container is created and again turned into the set at each start. What the engine itself does
not have it cannot give; the names it has come from `Host.capabilities`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import InvalidArgument
from ..runtime.capabilities import NAMES

ALL = "ALL"
DEFAULT = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)
"""What every container has, in Docker's order."""


def normalize(names: Iterable[str] | None, available: Sequence[str]) -> list[str]:
    """Return upper-case names with `CAP_`; `ALL` stays. Raise InvalidArgument for one that cannot be had."""
    normalized = []
    for name in names or ():
        name = name.upper()
        if name != ALL:
            name = name if name.startswith("CAP_") else f"CAP_{name}"
            if name not in NAMES:
                raise InvalidArgument(f'unknown capability: "{name}"')
            if name not in available:
                raise InvalidArgument(
                    f'capability not supported by your kernel or not available in the current environment: "{name}"'
                )
        normalized.append(name)
    return normalized


def check(add: Iterable[str] | None, drop: Iterable[str] | None, available: Sequence[str]) -> None:
    """Raise InvalidArgument for a name in CapAdd or CapDrop that cannot be had."""
    for field, names in (("CapAdd", add), ("CapDrop", drop)):
        try:
            normalize(names, available)
        except InvalidArgument as error:
            raise InvalidArgument(f"invalid {field}: {error}") from error


def effective(
    add: Iterable[str] | None, drop: Iterable[str] | None, *, privileged: bool, available: Sequence[str]
) -> list[str]:
    """Return the names that the container's processes get."""
    if privileged:
        return list(available)
    added, dropped = normalize(add, available), normalize(drop, available)
    if ALL in added:
        return [name for name in available if name not in dropped]
    if ALL in dropped:
        return added
    return [name for name in DEFAULT if name in available and name not in dropped] + added
