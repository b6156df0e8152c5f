"""Capability sets of a process: names to masks, and dropping what the spec does not grant.

Called by the process that becomes the container's, in two halves around the change of user.
"""

from __future__ import annotations

from . import linux
from .constants import PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, PR_CAP_AMBIENT_RAISE, PR_CAPBSET_DROP, PR_CAPBSET_READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# <linux/capability.h>: a capability's number is its place here.
NAMES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
    "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip
_BITS = {name: 1 << number for number, name in enumerate(NAMES)}


def mask(names: Iterable[str]) -> int:
    """Return the bit mask of capability names; unknown ones are left out, as runc does (with a warning there)."""
    result = 0
    for name in names:
        result |= _BITS.get(name, 0)
    return result


def available() -> list[str]:
    """Return the names that this process may hand on: those permitted to it."""
    permitted = linux.capget()[1]
    return [name for name, bit in _BITS.items() if permitted & bit]


def left_out(capabilities: dict[str, list[str]] | None) -> list[str]:
    """Say what of a spec's sets cannot be granted: names that nobody knows, ambient ones without the others."""
    sets = capabilities or {}
    unknown = sorted({name for names in sets.values() for name in names or () if name not in _BITS})
    told = [f"ignoring unknown or unavailable capabilities: [{' '.join(unknown)}]"] if unknown else []
    raised = mask(sets.get("permitted") or ()) & mask(sets.get("inheritable") or ())
    for name in sets.get("ambient") or ():
        if name in _BITS and not raised & _BITS[name]:
            told.append(f"can't raise ambient capability {name}: operation not permitted")
    return told


def drop_bounding(capabilities: dict[str, list[str]] | None) -> None:
    """Drop from the bounding set what is not granted; must precede the change of user, which needs CAP_SETPCAP."""
    if capabilities is None:
        return
    keep = mask(capabilities.get("bounding", ()))
    for number in range(64):
        if keep >> number & 1:
            continue
        try:
            held = linux.prctl(PR_CAPBSET_READ, number)
        except OSError:
            return  # beyond the last capability of this kernel
        if held:
            linux.prctl(PR_CAPBSET_DROP, number)


def apply(capabilities: dict[str, list[str]] | None) -> None:
    """Set the four other sets, each cut to what this process has itself.

    Without a capabilities object the process gets what its user gets from execve, as with runc.
    """
    if capabilities is None:
        return
    permitted_here = linux.capget()[1]
    permitted = mask(capabilities.get("permitted", ())) & permitted_here
    effective = mask(capabilities.get("effective", ())) & permitted
    inheritable = mask(capabilities.get("inheritable", ())) & permitted_here
    linux.capset(effective, permitted, inheritable)
    linux.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    ambient = mask(capabilities.get("ambient", ())) & permitted & inheritable
    for number in range(len(NAMES)):
        if ambient >> number & 1:
            linux.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)
