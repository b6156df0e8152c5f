"""One OCI mount after the other, made as a detached mount and then attached inside the container's root.

A mount gets its attributes and propagation before it is attached, so that there is no moment at which a read-only
mount can be written, and it is attached to a descriptor, so that no path is looked up twice (CVE-2019-16884,
CVE-2021-30465, CVE-2025-31133 and their kin). Called by init in the container's mount namespace, before pivot_root.
"""

from __future__ import annotations

import errno
import os
import stat

from . import inroot, linux, mount_options, trace
from .constants import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    MNT_DETACH,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    O_PATH,
    OPEN_TREE_CLONE,
    PROC_SUPER_MAGIC,
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
)
from .copyup import copy_tree
from .errors import RuntimeFailure, describe
from .filesystem import new_filesystem
from .overlay import new_overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .mount_options import MountOptions

# What lxcfs and the like may cover; anything else in /proc is refused.
_PROC_FILES = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps", "sys/crypto/fips_enabled",
        "sys/kernel/ns_last_pid", "uptime",
    )
)  # fmt: skip
_WRONG_KIND = (
    ": Are you trying to mount a directory onto a file (or vice-versa)? "
    "Check if the specified host path exists and is the expected type"
)


class Mounter:
    """Makes the mounts of one container below its root."""

    def __init__(self, root_fd: int, *, cgroup_mounts: Sequence[tuple[str, str]], cgroup_namespace: bool) -> None:
        self._root_fd = root_fd
        self._root_path = inroot.path_of(root_fd)
        self._cgroup_mounts = cgroup_mounts
        self._cgroup_namespace = cgroup_namespace

    def mount(self, entry: dict[str, Any], prepared_fd: int = -1) -> None:
        """Make one mount; `prepared_fd` is a detached clone of its source made outside a user namespace."""
        source = entry.get("source", "")
        if entry["destination"].startswith(f"{self._root_path}/"):
            # Podman and others of old name the root too.
            entry = {**entry, "destination": entry["destination"][len(self._root_path) :]}
        try:
            self._mount(entry, mount_options.parse(entry.get("options") or ()), prepared_fd)
        except OSError as error:
            hint = _WRONG_KIND if isinstance(error, NotADirectoryError) else ""
            raise _failure(entry, source, describe(error) + hint, error.errno or 0) from error
        trace.note("mounted", entry["destination"])

    def _mount(self, entry: dict[str, Any], options: MountOptions, prepared_fd: int) -> None:
        # Layers, and what was made outside, are attached like a bind.
        kind = "bind" if options.bind or prepared_fd >= 0 or "lower" in entry else entry.get("type") or "bind"
        if kind == "bind":
            self._bind(entry, options, prepared_fd)
            return
        if kind == "cgroup":
            self._cgroup(entry, options)
            return
        was_there = kind != "tmpfs" or self._exists(entry["destination"])
        if kind in ("proc", "sysfs"):
            target_fd = self._ordinary_directory(entry, kind)
        else:
            target_fd = self._target(entry, directory=True)
        try:
            self._check_proc(entry, target_fd, kind, prepared_fd)
            self._filesystem(entry, options, kind, target_fd, was_there=was_there)
        finally:
            os.close(target_fd)

    def _exists(self, destination: str) -> bool:
        try:
            os.close(inroot.open_path(self._root_fd, destination))
        except FileNotFoundError:
            return False
        return True

    def _filesystem(
        self, entry: dict[str, Any], options: MountOptions, kind: str, target_fd: int, *, was_there: bool
    ) -> None:
        data = list(mount_options.flag_words(options.data))
        # A writable start for what still has to be filled: /dev and copied-up directories.
        late_read_only = options.read_only and (kind == "tmpfs" or entry["destination"].rstrip("/") == "/dev")
        attributes = options.attr_set & ~MOUNT_ATTR_RDONLY if late_read_only else options.attr_set
        mount_fd = new_filesystem(kind, entry.get("source") or kind, data, attributes)
        try:
            if kind == "tmpfs" and was_there and "mode" not in dict(data):
                # It takes the mode of what it covers, without showing that as an option.
                os.chmod(f"/proc/self/fd/{mount_fd}", stat.S_IMODE(os.fstat(target_fd).st_mode))
            if options.copy_up:
                copy_tree(target_fd, mount_fd)
            mount_fd = self._narrow(mount_fd, entry)
            self._attach(mount_fd, target_fd, options)
        finally:
            os.close(mount_fd)

    def _bind(self, entry: dict[str, Any], options: MountOptions, prepared_fd: int) -> None:
        source = entry.get("source", "")
        mount_fd = prepared_fd if prepared_fd >= 0 else open_source(entry, options, in_own_namespace=True)
        try:
            if "lower" in entry:
                mount_fd = self._narrow(mount_fd, entry)
            is_directory = stat.S_ISDIR(os.fstat(mount_fd).st_mode)
            target_fd = self._target(entry, directory=is_directory)
            try:
                self._check_proc(entry, target_fd, "bind", mount_fd)
                if stat.S_ISDIR(os.fstat(target_fd).st_mode) != is_directory:
                    raise NotADirectoryError(errno.ENOTDIR, "mount:", f"{source}:{entry['destination']}")
                set_bind_attributes(mount_fd, options)
                self._attach(mount_fd, target_fd, options)
            finally:
                os.close(target_fd)
        finally:
            os.close(mount_fd)

    def _narrow(self, mount_fd: int, entry: dict[str, Any]) -> int:
        """Exchange a new filesystem for the part of it that is wanted.

        A detached mount cannot be cloned in part, so it is attached for that moment: over the root, where nobody looks.
        """
        subpath = entry.get("subpath", "")
        if not subpath:
            return mount_fd
        linux.move_mount(mount_fd, self._root_fd, target="mount")
        try:
            part_fd = clone_below(mount_fd, subpath, OPEN_TREE_CLONE | AT_RECURSIVE)
        finally:
            linux.umount2(f"/proc/self/fd/{mount_fd}", MNT_DETACH)
        os.close(mount_fd)
        return part_fd

    def _attach(self, mount_fd: int, target_fd: int, options: MountOptions) -> None:
        for recursive, propagation in options.propagation:
            linux.mount_setattr(mount_fd, AT_RECURSIVE if recursive else 0, propagation=propagation)
        linux.move_mount(mount_fd, target_fd, target="mount")

    def _target(self, entry: dict[str, Any], *, directory: bool) -> int:
        """Open the mount's destination inside the root, making it first where it is missing."""
        destination = entry["destination"]
        try:
            return inroot.open_path(self._root_fd, destination)
        except FileNotFoundError:
            make = inroot.make_directory if directory else inroot.make_file
            # Links to nothing are followed too, and what they lead to is made.
            return make(self._root_fd, inroot.followed(self._root_fd, destination))

    def _ordinary_directory(self, entry: dict[str, Any], kind: str) -> int:
        """proc and sysfs go onto real directories only: a link there has been an attack before (CVE-2019-19921)."""
        try:
            target_fd = inroot.make_directory(self._root_fd, entry["destination"])
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            target_fd = -1  # a link to nothing
        if target_fd < 0 or self._inside(target_fd) != os.path.normpath("/" + entry["destination"].lstrip("/")):
            if target_fd >= 0:
                os.close(target_fd)
            text = f'filesystem "{kind}" must be mounted on ordinary directory'
            raise _failure(entry, entry.get("source", ""), text, errno.ENOTDIR)
        return target_fd

    def _inside(self, fd: int) -> str:
        """Return a descriptor's path as the container will see it."""
        path = inroot.path_of(fd)
        if path == self._root_path:
            return "/"
        if not path.startswith(self._root_path + "/"):
            raise RuntimeFailure("internal", f'mountpoint "{path}" is outside of rootfs "{self._root_path}"')
        return path[len(self._root_path) :]

    def _check_proc(self, entry: dict[str, Any], target_fd: int, kind: str, source_fd: int) -> None:
        """Refuse mounts over the root and over /proc, where a forged file would undo confinement."""
        inside = self._inside(target_fd)
        source = entry.get("source", "")
        if inside == "/":
            raise _failure(entry, source, f'mountpoint "{self._root_path}" is on the top of rootfs', 22)
        where = f'"{self._root_path}{inside}" cannot be mounted because it is'
        if inside == "/proc":
            is_proc = kind == "proc" or (kind == "bind" and linux.fstatfs_type(source_fd) == PROC_SUPER_MAGIC)
            if not is_proc:
                raise _failure(entry, source, f"{where} not of type proc", 22)
        elif inside.startswith("/proc/") and inside not in _PROC_FILES:
            raise _failure(entry, source, f"{where} inside /proc", 22)

    def _cgroup(self, entry: dict[str, Any], options: MountOptions) -> None:
        """Show the container its control groups: the one tree of v2, or one directory a controller of v1."""
        if len(self._cgroup_mounts) == 1 and self._cgroup_mounts[0][0] == "":
            self._cgroup2(entry, options, self._cgroup_mounts[0][1])
            return
        tmpfs = {"destination": entry["destination"], "source": "tmpfs", "type": "tmpfs"}
        target_fd = self._target(entry, directory=True)
        try:
            flags = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
            mount_fd = new_filesystem("tmpfs", "tmpfs", [("mode", "755")], flags)
            try:
                self._check_proc(tmpfs, target_fd, "tmpfs", -1)
                self._attach(mount_fd, target_fd, options)
                for name, path in self._cgroup_mounts:
                    self._cgroup1_controller(mount_fd, name, path, options)
            finally:
                os.close(mount_fd)
        finally:
            os.close(target_fd)

    def _cgroup1_controller(self, parent_fd: int, name: str, path: str, options: MountOptions) -> None:
        """Put one v1 hierarchy into the fresh tmpfs; merged controllers ("cpu,cpuacct") also get their short names."""
        os.mkdir(name, 0o755, dir_fd=parent_fd)
        target_fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent_fd)
        try:
            if self._cgroup_namespace:
                data: list[tuple[str, str | None]] = (
                    [("name", "systemd")] if name == "systemd" else [(word, None) for word in name.split(",")]
                )
                mount_fd = new_filesystem("cgroup", "cgroup", data, options.attr_set)
            else:
                mount_fd = linux.open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | AT_RECURSIVE)
                linux.mount_setattr(mount_fd, 0, attr_set=options.attr_set, attr_clr=options.attr_clr)
            try:
                self._attach(mount_fd, target_fd, options)
            finally:
                os.close(mount_fd)
        finally:
            os.close(target_fd)
        if "," in name:
            for word in name.split(","):
                os.symlink(name, word, dir_fd=parent_fd)

    def _cgroup2(self, entry: dict[str, Any], options: MountOptions, own_path: str) -> None:
        target_fd = self._target(entry, directory=True)
        try:
            self._check_proc(entry, target_fd, "cgroup2", -1)
            mount_fd = self._cgroup2_tree(options, own_path)
            try:
                self._attach(mount_fd, target_fd, options)
            finally:
                os.close(mount_fd)
        finally:
            os.close(target_fd)

    def _cgroup2_tree(self, options: MountOptions, own_path: str) -> int:
        """Return a mount of the tree as the container's cgroup namespace has it, or of what it may see of the host's.

        In the host's cgroup namespace a new mount would take nsdelegate and memory_recursiveprot off the whole machine.
        """
        if self._cgroup_namespace:
            try:
                return new_filesystem("cgroup2", "cgroup", [], options.attr_set)
            except OSError:
                pass  # not allowed in a user namespace that does not own the cgroup namespace
        source = own_path if self._cgroup_namespace else "/sys/fs/cgroup"
        mount_fd = linux.open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | AT_RECURSIVE)
        linux.mount_setattr(mount_fd, 0, attr_set=options.attr_set, attr_clr=options.attr_clr)
        return mount_fd


def open_source(entry: dict[str, Any], options: MountOptions, *, in_own_namespace: bool) -> int:
    """Return a detached mount of what is to be attached: a clone of a bind's source, or an overlay of layers.

    Layers are lightship's addition to an OCI mount: `lower`, `upper` and `work`, as in the root's own mounts.
    """
    if "lower" in entry:
        return new_overlay({**entry, "options": ["index=off"]}, in_own_namespace=in_own_namespace)
    return clone_tree(entry.get("source", ""), options, entry.get("subpath", ""))


def clone_tree(source: str, options: MountOptions, subpath: str = "") -> int:
    """Return a detached clone of the mount at `source`, with those below it for rbind.

    `subpath` (lightship's addition to an OCI mount) is a path below the source that other containers may change at any
    time: it is resolved by the kernel, never leaves the source, and what was resolved is what is cloned.
    """
    flags = OPEN_TREE_CLONE | (AT_RECURSIVE if options.recursive_bind else 0)
    if not subpath:
        return linux.open_tree(AT_FDCWD, source, flags)
    base_fd = os.open(source, O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return clone_below(base_fd, subpath, flags)
    finally:
        os.close(base_fd)


def clone_below(base_fd: int, subpath: str, flags: int) -> int:
    """Return a detached clone of a path below an open directory, which it never leaves."""
    fd = linux.openat2(base_fd, subpath, flags=O_PATH, resolve=RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
    try:
        return linux.open_tree(fd, "", flags | AT_EMPTY_PATH)
    finally:
        os.close(fd)


def set_bind_attributes(mount_fd: int, options: MountOptions) -> None:
    """Apply a bind mount's own and recursive attributes to its still detached clone."""
    if options.attr_set or options.attr_clr:
        linux.mount_setattr(mount_fd, 0, attr_set=options.attr_set, attr_clr=options.attr_clr)
    if options.recursive_set or options.recursive_clr:
        linux.mount_setattr(mount_fd, AT_RECURSIVE, attr_set=options.recursive_set, attr_clr=options.recursive_clr)


def _failure(entry: dict[str, Any], source: str, detail: str, errno: int) -> RuntimeFailure:
    message = f'error mounting "{source}" to rootfs at "{entry["destination"]}": {detail}'
    return RuntimeFailure("invalid_argument", message, errno)
