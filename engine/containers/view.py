"""A container's files as `docker cp` sees them: its root with volumes and binds, without what the kernel shows there.

Runs in a worker process (`fileworker.py`) with one thread. The view is mounted in the worker's own mount namespace, on
a directory that only hides there, and is gone with it: the host sees none of it. A running container's mounts are
cloned, so the view is live. The root of one that does not run is mounted anew: to be written to, or, for readers, below
a throwaway layer, so that they neither change the container nor are in the way of its start. Other drivers than
overlay2 have no such layer: there a mount point that the container lacks is made in it, as its start would.

Nothing of a container is ever executed or loaded, and nobody's root directory is changed to it (CVE-2019-14271): its
files are reached by descriptors, and paths are resolved by the kernel within the view (CVE-2018-15664).
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, contextmanager

from ..runtime import fuse, inroot, linux, rootfs
from ..runtime.constants import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    CLONE_NEWNS,
    MNT_DETACH,
    MS_PRIVATE,
    MS_REC,
    MS_SLAVE,
    O_PATH,
    OPEN_TREE_CLONE,
)
from ..runtime.filesystem import new_filesystem
from ..runtime.mount_options import parse
from ..runtime.mounts import Mounter, clone_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

_DIRECTORY = O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def isolate() -> None:
    """Give the process a mount namespace of its own, once; what the host mounts later still shows in it."""
    fuse.note_namespace()
    linux.unshare(CLONE_NEWNS)
    linux.mount("", "/", "", MS_SLAVE | MS_REC)


@contextmanager
def running(root: str, namespace: str, destinations: Sequence[str], *, mount_point: str) -> Iterator[int]:
    """Give the root of a running container, whose root directory and mount namespace are at two paths."""
    with ExitStack() as undo:
        fds = _clone(root, namespace, destinations)
        for _, fd in fds:
            undo.callback(os.close, fd)
        (_, root_clone), *others = fds
        view_fd = _attach(root_clone, mount_point, undo)
        for destination, fd in others:
            _place(fd, view_fd, destination)
        yield view_fd


@contextmanager
def stopped(
    layers: Sequence[dict[str, Any]], mounts: Sequence[dict[str, Any]], *, writable: bool, mount_point: str
) -> Iterator[int]:
    """Give the root of a container that does not run: the snapshotter's mounts, and the OCI mounts in it."""
    with ExitStack() as undo:
        # Sources before the root: it hides what is at its mount point, which may be one of them.
        sources = [(mount, _source(mount)) for mount in mounts]
        root_fd = _root(layers, writable=writable, undo=undo)
        undo.callback(os.close, root_fd)
        view_fd = _attach(root_fd, mount_point, undo)
        mounter = Mounter(view_fd, cgroup_mounts=(), cgroup_namespace=False)
        for mount, source_fd in sources:
            mounter.mount(mount, source_fd)
        yield view_fd


def bare(layers: Sequence[dict[str, Any]]) -> int:
    """Return a container's root without anything mounted in it, read-only and detached: what `docker export` shows."""
    top = layers[-1]
    if "lower" not in top:
        return merged([top["source"]])
    return merged([top["upper"], *top["lower"]], top.get("type", "overlay"))


def merged(layers: Sequence[str], kind: str = "overlay") -> int:
    """Return the tree that layers make together, the uppermost first; read-only and detached."""
    if len(layers) == 1:
        return os.open(layers[0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # overlayfs wants two
    fd = _read_only(layers, kind)
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    finally:
        os.close(fd)


def _read_only(layers: Sequence[str], kind: str) -> int:
    entry = {"type": kind, "lower": list(layers), "options": ["index=off", "ro"]}
    try:
        return rootfs.open_mounts([entry])[-1]
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        # A kernel without: the marks in layers are the same for the program
        return rootfs.open_mounts([{**entry, "type": fuse.NAME}])[-1]


def _clone(root: str, namespace: str, destinations: Sequence[str]) -> list[tuple[str, int]]:
    """Return detached clones of a container's root mount and of those at the destinations.

    Mounts can be cloned only in their own namespace. The process is in the container's for these calls alone; nothing
    is looked up by name there except by the kernel, inside the container's root.
    """
    own_fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    namespace_fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    root_fd = os.open(root, _DIRECTORY)
    clones: list[tuple[str, int]] = []
    linux.setns(namespace_fd, CLONE_NEWNS)
    try:
        clones.append(("/", linux.open_tree(root_fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH)))
        for destination in destinations:
            try:
                fd = inroot.open_path(root_fd, destination)
            except OSError:
                continue  # the container has taken it away
            clones.append((destination, linux.open_tree(fd, "", OPEN_TREE_CLONE | AT_RECURSIVE | AT_EMPTY_PATH)))
            os.close(fd)
    finally:
        linux.setns(own_fd, CLONE_NEWNS)
        for fd in (own_fd, namespace_fd, root_fd):
            os.close(fd)
    return clones


def _place(mount_fd: int, view_fd: int, destination: str) -> None:
    """Mount a clone where it is in the container; below what the view leaves out its place is made."""
    try:
        target_fd = inroot.open_path(view_fd, destination)
    except FileNotFoundError:
        make = inroot.make_directory if stat.S_ISDIR(os.fstat(mount_fd).st_mode) else inroot.make_file
        target_fd = make(view_fd, destination)
    try:
        linux.move_mount(mount_fd, target_fd, target=destination)
    finally:
        os.close(target_fd)


def _attach(mount_fd: int, mount_point: str, undo: ExitStack) -> int:
    """Mount the root where nobody else sees it; return a descriptor of it."""
    linux.mount_setattr(mount_fd, 0, propagation=MS_PRIVATE)
    target_fd = os.open(mount_point, _DIRECTORY)
    try:
        linux.move_mount(mount_fd, target_fd, target=mount_point)
    finally:
        os.close(target_fd)
    undo.callback(linux.umount2, mount_point, MNT_DETACH)
    view_fd = os.open(mount_point, _DIRECTORY)
    undo.callback(os.close, view_fd)
    return view_fd


def _source(mount: dict[str, Any]) -> int:
    """Return a detached clone of what a bind mount shows, -1 for a file system that is mounted in its place."""
    options = parse(mount["options"])
    if not options.bind:
        return -1
    return clone_tree(mount["source"], options, mount.get("subpath", ""))


def _root(layers: Sequence[dict[str, Any]], *, writable: bool, undo: ExitStack) -> int:
    top = layers[-1]
    if writable or "lower" not in top:
        # Of a copy readers see the container's own files: there is nothing to lay above them
        return rootfs.open_mounts(layers)[-1]
    if fuse.is_served(top):
        # It cannot reach a layer that only this process sees; a directory for its work is all that it has for itself
        work = f"{top['work']}/reading"
        os.makedirs(work, exist_ok=True)
        return rootfs.open_mounts([{**top, "work": work}])[-1]
    scratch_fd = new_filesystem("tmpfs", "tmpfs", [("mode", "755")], 0)
    undo.callback(os.close, scratch_fd)
    scratch = f"/proc/self/fd/{scratch_fd}"
    for name in ("upper", "work"):
        os.mkdir(f"{scratch}/{name}")
    status = os.stat(top["upper"])
    os.chown(f"{scratch}/upper", status.st_uid, status.st_gid)
    os.chmod(f"{scratch}/upper", status.st_mode & 0o7777)
    os.utime(f"{scratch}/upper", ns=(status.st_atime_ns, status.st_mtime_ns))
    lower = [top["upper"], *top["lower"]]
    return rootfs.open_mounts([{**top, "lower": lower, "upper": f"{scratch}/upper", "work": f"{scratch}/work"}])[-1]
