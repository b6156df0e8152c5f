"""One more process in a running container (exec), from the fork to its program.

Two forks: the first child sheds everything of the host's (descriptors, root, namespaces) while the container cannot
see it, and only its own child, which becomes the caller's by CLONE_PARENT, appears in the container's pid namespace.
So a container that may trace its processes finds no host directory in a newcomer's /proc/PID (CVE-2016-9962,
CVE-2024-21626).
"""

from __future__ import annotations

import os
import socket

from . import channel, console, linux, process, rootfs
from .constants import CLONE_NEWPID, CLONE_NEWUSER, PR_SET_CHILD_SUBREAPER
from .scheduling import reset_affinity, set_affinity, set_memory_policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from .cgroups.cgroup import Cgroup
    from .container import Stdio
    from .process import Confinement


class Joining:
    """All that an exec's child is given. A process's `keepsOrphans` is lightship's extension."""

    def __init__(
        self,
        *,
        id: str,
        process: dict[str, Any],
        linux: dict[str, Any],
        stdio: Stdio,
        sock: socket.socket,
        cgroup: Cgroup,
        init_pidfd: int,
        root_fd: int,
        namespace_flags: int,
        confinement: Confinement,
        preserve_fds: int,
    ) -> None:
        self.id = id
        self.process = process
        self.linux = linux
        self.stdio = stdio
        self.sock = sock
        self.cgroup = cgroup
        self.init_pidfd = init_pidfd
        self.root_fd = root_fd
        self.namespace_flags = namespace_flags
        self.confinement = confinement
        self.preserve_fds = preserve_fds


def run(joining: Joining) -> NoReturn:
    """Become a process of the container."""
    process.run_child(joining.sock, lambda prefix: _steps(joining, prefix))


def _steps(joining: Joining, prefix: list[str]) -> NoReturn:
    kept = [joining.sock.fileno(), joining.init_pidfd, joining.root_fd, *joining.cgroup.fds]
    process.begin("lightship-exec", kept, preserve_fds=joining.preserve_fds, stdio=joining.stdio)
    prefix[0] = ""
    # While it joins; `final` is for the program.
    affinity = joining.process.get("execCPUAffinity") or {}
    set_affinity(affinity.get("initial"))
    # Limits are set and inherited from here, and where the kernel could not clone into the cgroup we are moved there.
    channel.expect(joining.sock, "prepared")
    joining.cgroup.join()
    if not affinity.get("initial"):
        reset_affinity()
    set_affinity(affinity.get("final"))
    # Root and working directory become the container's with its mount namespace.
    linux.setns(joining.init_pidfd, joining.namespace_flags)
    os.close(joining.init_pidfd)
    if joining.root_fd >= 0:
        rootfs.chroot(joining.root_fd)
        os.close(joining.root_fd)
    if joining.namespace_flags & CLONE_NEWPID:
        process.fork_again(joining.sock)
    if joining.process.get("keepsOrphans"):
        # Outlasts execve, and is not its children's: none of its descendants has another parent while it lives.
        linux.prctl(PR_SET_CHILD_SUBREAPER, 1)
    if joining.namespace_flags & CLONE_NEWUSER:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    process.join_keyring(joining.id, user_namespace=bool(joining.namespace_flags & CLONE_NEWUSER), new=False)
    master = -1
    if joining.process.get("terminal"):
        master, slave = console.open_pty(joining.process.get("consoleSize"))
        console.make_standard(slave)
        os.close(slave)
    umask = (joining.process.get("user") or {}).get("umask")
    os.umask(0o022 if umask is None else umask)
    process.set_apparmor_profile(joining.process.get("apparmorProfile"))
    process.set_personality(joining.linux)
    set_memory_policy(joining.linux.get("memoryPolicy"))
    process.become(
        joining.process,
        confinement=joining.confinement,
        preserve_fds=joining.preserve_fds,
        prefix=prefix,
        wait=lambda: _ready(joining.sock, master),
        before_exec=lambda env: None,
    )


def _ready(sock: socket.socket, master: int) -> socket.socket:
    """Tell the parent that only execve is left; it reads on, until the socket ends with it."""
    channel.send(sock, "ready", fd=master)
    if master >= 0:
        os.close(master)
    return sock
