"""Writing kernel parameters of the container's own namespaces."""

from __future__ import annotations

import os

from . import linux
from .constants import O_PATH, PROC_SUPER_MAGIC, RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV
from .errors import RuntimeFailure, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .namespaces import Namespaces

_IPC = frozenset(
    f"kernel.{name}" for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)


def write(parameters: dict[str, str]) -> None:
    """Write each into the container's /proc/sys; a /proc that the image forged is refused."""
    if not parameters:
        return
    sys_fd = os.open("/proc/sys", O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if linux.fstatfs_type(sys_fd) != PROC_SUPER_MAGIC:
            raise RuntimeFailure("internal", "the container's /proc/sys is not on procfs")
        resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
        for name, value in parameters.items():
            path = path_of(name)
            try:
                fd = linux.openat2(sys_fd, path, flags=os.O_WRONLY, resolve=resolve)
                try:
                    os.write(fd, value.encode())
                finally:
                    os.close(fd)
            except OSError as error:
                message = f"open /proc/sys/{path}: {reason(error)}"
                raise RuntimeFailure("invalid_argument", message, error.errno or 0) from error
    finally:
        os.close(sys_fd)


def path_of(name: str) -> str:
    """Return a parameter's path below /proc/sys; with slashes for separators dots belong to names (net/ipv4/eth0.1)."""
    slash, dot = name.find("/"), name.find(".")
    if slash >= 0 and (dot < 0 or slash < dot):
        return name
    return name.replace(".", "\0").replace("/", ".").replace("\0", "/")


def check(parameters: dict[str, str], namespaces: Namespaces) -> None:
    """Refuse what would change the host."""
    for name in parameters:
        dotted = path_of(name).replace("/", ".")
        if dotted in _IPC or dotted.startswith("fs.mqueue."):
            if not namespaces.is_separate("ipc"):
                raise _refused(f'sysctl "{dotted}" is not allowed in the hosts ipc namespace')
        elif dotted.startswith("net."):
            if not namespaces.is_separate("network"):
                raise _refused(f'sysctl "{dotted}" not allowed in host network namespace')
        elif dotted == "kernel.hostname" and namespaces.is_separate("uts"):
            raise _refused(f'sysctl "{dotted}" is not allowed as it conflicts with the OCI "hostname" field')
        elif dotted.startswith("user."):
            if not namespaces.has("user"):
                raise _refused(f"setting ucounts without a user namespace not allowed: {dotted}")
        elif not (dotted == "kernel.domainname" and namespaces.is_separate("uts")):
            raise _refused(f'sysctl "{dotted}" is not in a separate kernel namespace')


def _refused(message: str) -> RuntimeFailure:
    return RuntimeFailure("invalid_argument", message)
