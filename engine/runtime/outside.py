"""Mounts that are made before the fork, with the host's view: detached, and handed to init by their descriptors.

Called by `create.py`. They are what the root of a user namespace may not make itself (the layers of the root, bind
sources that it cannot reach), id-mapped mounts, which want a user namespace of their own, what a program serves, which
is to live outside, and a root on the host.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal

from . import fuse, hostroot, linux, mount_options, rootfs
from .constants import AT_RECURSIVE, CLONE_NEWNET, CLONE_NEWUSER, MOUNT_ATTR_IDMAP, MS_SLAVE, PR_SET_PDEATHSIG
from .errors import RuntimeFailure, reason
from .mounts import open_source
from .namespaces import write_id_maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import ExitStack
    from typing import Any

    from .init import Plan
    from .mount_options import MountOptions

# Above what a container's RLIMIT_NOFILE may leave to init, which needs low numbers for what it opens itself, and below
# what the caller's own limit (1024 in a service of systemd that sets none) allows.
_FIRST_FD = 512


def open_mounts(plan: Plan, always: ExitStack, undo: ExitStack) -> None:
    """Make them and note the descriptors in the plan; `always` closes the parent's, `undo` is for a failed create."""
    if not plan.namespaces.has("mount"):
        plan.host_root = hostroot.attach(plan.root_path, undo)
    has_user = plan.namespaces.has("user")
    is_served = any(map(fuse.is_served, plan.rootfs))
    mounts = plan.spec.get("mounts") or ()
    if not (has_user or is_served or any(map(mount_options.is_id_mapped, mounts)) or any(map(fuse.is_served, mounts))):
        return
    maps = _IdMaps(plan, always)
    if has_user or is_served:
        for fd in rootfs.open_mounts([maps.complete(entry) for entry in plan.rootfs]):
            plan.rootfs_fds.append(_keep(fd, always))
    for number, entry in enumerate(mounts):
        is_mapped = mount_options.is_id_mapped(entry)
        if not (has_user or is_mapped or fuse.is_served(entry)):
            continue
        if not is_mapped and entry.get("source", "").startswith(f"{plan.root_path}/"):
            continue  # something that an earlier mount may bring; init reaches its own root
        options = mount_options.parse(entry.get("options") or ())
        if number not in plan.bind_fds and (options.bind or entry.get("type") == "bind" or "lower" in entry):
            try:
                fd = open_source(maps.complete(entry), options, in_own_namespace=False)
            except OSError:
                continue  # the child tries too, and its error is the one to report
            plan.bind_fds[number] = _keep(fd, always)
            if "shared" not in (plan.linux.get("rootfsPropagation") or ""):
                # Cut off from the host's mount, as what init clones in its own namespace is.
                linux.mount_setattr(plan.bind_fds[number], AT_RECURSIVE, propagation=MS_SLAVE)
        if is_mapped:
            maps.apply(plan.bind_fds[number], entry, options)


def _keep(fd: int, always: ExitStack) -> int:
    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FD)
    finally:
        os.close(fd)
    always.callback(os.close, high)
    return high


class _IdMaps:
    """Maps mounts, with one user namespace for each mapping."""

    def __init__(self, plan: Plan, always: ExitStack) -> None:
        self._plan = plan
        self._always = always
        self._fds: dict[str, int] = {}

    def apply(self, mount_fd: int, entry: dict[str, Any], options: MountOptions) -> None:
        flags = AT_RECURSIVE if options.id_map == "ridmap" else 0
        try:
            linux.mount_setattr(mount_fd, flags, attr_set=MOUNT_ATTR_IDMAP, userns_fd=self._namespace(entry))
        except OSError as error:
            hint = ""
            if error.errno == errno.EINVAL:
                hint = " (maybe the filesystem used doesn't support idmap mounts on this kernel?)"
            text = f"failed to set MOUNT_ATTR_IDMAP on {entry.get('source')}: {reason(error)}{hint}"
            raise RuntimeFailure("invalid_argument", text, error.errno or 0) from error

    def complete(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Return an overlay's entry with the namespace whose ids its layers are to have, where it asks for that."""
        if not entry.get("id_map"):
            return entry
        return {**entry, "id_map": {**entry["id_map"], "userns_fd": self._namespace(self._plan.linux)}}

    def _namespace(self, entry: dict[str, Any]) -> int:
        """Return a user namespace with the mount's own mapping, or else the container's."""
        if not (entry.get("uidMappings") or entry.get("gidMappings")):
            joined = self._plan.namespaces.joined.get("user")
            if joined is not None:
                return joined
            entry = self._plan.linux
        mapping = {kind: entry.get(kind) or [] for kind in ("uidMappings", "gidMappings")}
        if repr(mapping) not in self._fds:
            self._fds[repr(mapping)] = fd = make_user_namespace(mapping)
            self._always.callback(os.close, fd)
        return self._fds[repr(mapping)]


def make_user_namespace(mapping: dict[str, Any], *, network: bool = False) -> int:
    """Return a descriptor of a user namespace, or of a network namespace that belongs to one, with no process in it."""
    flags = CLONE_NEWUSER | (CLONE_NEWNET if network else 0)
    pid, pidfd = linux.clone3(flags, exit_signal=signal.SIGCHLD)
    if pid == 0:
        linux.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pause()
        os._exit(0)
    try:
        write_id_maps(pid, mapping)
        return os.open(f"/proc/{pid}/ns/{'net' if network else 'user'}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        try:
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        except ChildProcessError:
            pass  # the zygote's handler was faster
        os.close(pidfd)
