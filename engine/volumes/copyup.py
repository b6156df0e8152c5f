"""The first use of a volume: what the image holds where it is mounted is copied into it.

Called by `Volumes` when a container is created, in a thread. The container's root is mounted for the copy alone,
detached: it has no mount point on the host and is gone with its descriptor, whatever happens to the engine. Paths
are resolved inside that root by the kernel, so that links of the image lead nowhere else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from ..errors import Internal, InvalidArgument
from ..runtime import inroot, linux, mount_options, rootfs
from ..runtime.constants import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS
from ..runtime.copyup import copy_tree
from ..runtime.filesystem import new_filesystem
from .record import VolumeSource

_READABLE = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Their content would be gone again before the container sees it.
_VOLATILE = frozenset(("tmpfs", "ramfs"))


def copy_up(
    root: Sequence[dict[str, Any]], destination: str, volume: VolumeSource, *, subpath: str = "", image_volume: bool
) -> None:
    """Fill an empty volume from `destination` in the root, which is made of the snapshotter's mounts.

    The directory's owner and mode go with it. A volume that holds something already, or a path that is not there, is
    left alone; an image's volume over a file is refused.
    """
    try:
        if volume.filesystem in _VOLATILE or (not volume.device and not subpath and os.listdir(volume.path)):
            return
        with ExitStack() as opened:
            source_fd = _open_source(root, destination, opened)
            if source_fd < 0:
                return
            if not stat.S_ISDIR(os.fstat(source_fd).st_mode):
                if image_volume:
                    raise InvalidArgument(f"cannot mount volume over existing file, file exists {destination}")
                return
            target_fd = _open_target(volume, subpath, opened)
            if target_fd >= 0 and not os.listdir(target_fd):
                _copy(source_fd, target_fd)
    except OSError as error:
        raise Internal(f"failed to populate volume: {error}") from error


def holds(root: Sequence[dict[str, Any]], destination: str) -> bool:
    """Is there anything in the root that could be copied?"""
    with ExitStack() as opened:
        return _open_source(root, destination, opened) >= 0


def _open_source(root: Sequence[dict[str, Any]], destination: str, opened: ExitStack) -> int:
    """Return a descriptor of the path inside the container's root, or -1 where there is none."""
    root_fd = _open_root(root)
    opened.callback(os.close, root_fd)
    try:
        fd = inroot.open_path(root_fd, destination)
    except (FileNotFoundError, NotADirectoryError):
        return -1
    opened.callback(os.close, fd)
    return fd


def _open_root(root: Sequence[dict[str, Any]]) -> int:
    """Return the root as a read-only tree: all layers of the overlay, the container's own one on top."""
    top = root[-1]
    layers = [*([top["upper"]] if top.get("upper") else []), *top.get("lower", ())]
    if "lower" in top and len(layers) == 1:
        return os.open(layers[0], _READABLE)
    if layers:
        options = [word for word in top.get("options") or () if not word.startswith(("upperdir=", "workdir="))]
        top = {"type": top["type"], "lower": layers, "options": [*options, "ro"]}
    fds = rootfs.open_mounts([top])
    return fds[-1]


def _open_target(volume: VolumeSource, subpath: str, opened: ExitStack) -> int:
    """Return a descriptor of the volume's directory, or -1 where the subpath is not there (the start then fails)."""
    if volume.device and not is_bind(volume):
        fd = _mount_device(volume)
        opened.callback(os.close, fd)
        fd = os.open(".", _READABLE, dir_fd=fd)
    else:
        fd = os.open(volume.device or volume.path, _READABLE)
    opened.callback(os.close, fd)
    if subpath:
        try:
            fd = linux.openat2(fd, subpath, flags=_READABLE, resolve=RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
        except OSError:
            return -1
        opened.callback(os.close, fd)
    return fd


def _mount_device(volume: VolumeSource) -> int:
    """Return the volume's file system as a detached mount; what is wrong with it is what the user gave."""
    options = mount_options.parse(volume.options)
    data = list(mount_options.flag_words(options.data))
    try:
        return new_filesystem(volume.filesystem, volume.device, data, options.attr_set)
    except OSError as error:
        words = ",".join("password=********" if word.startswith("password=") else word for word in volume.options)
        raise InvalidArgument(
            f"failed to populate volume: error while mounting volume '{volume.path}': failed to mount local volume: "
            f"mount {volume.device}:{volume.path}, data: {words}: {os.strerror(error.errno or 0).lower()}"
        ) from error


def is_bind(volume: VolumeSource) -> bool:
    """Whether the volume's device is a directory elsewhere on the host."""
    return volume.filesystem == "none" or not {"bind", "rbind"}.isdisjoint(volume.options)


def _copy(source_fd: int, target_fd: int) -> None:
    """Copy the directory's content, then what it is itself: later ones would change its times."""
    copy_tree(source_fd, target_fd)
    source = os.open(".", _READABLE, dir_fd=source_fd)
    try:
        info = os.fstat(source)
        os.fchown(target_fd, info.st_uid, info.st_gid)
        os.fchmod(target_fd, stat.S_IMODE(info.st_mode))
        for attribute in os.listxattr(source):
            try:
                os.setxattr(target_fd, attribute, os.getxattr(source, attribute))
            except OSError:
                continue  # the volume's file system may know fewer
        os.utime(target_fd, ns=(info.st_atime_ns, info.st_mtime_ns))
    finally:
        os.close(source)
