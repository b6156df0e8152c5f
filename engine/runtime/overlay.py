"""Making an overlay of many layers, as a detached mount.

Called by init in the container's mount namespace, by the shim, and by the daemon where it reads a container's root. A
mount's options end at one page and a string of fsconfig(2) at 256 bytes, so 128 layers need one of two ways: since
Linux 6.8 each layer is a `lowerdir+` of its own; before that mount(2) gets paths relative to the layers' common
directory, in a mount namespace that exists only for this. See the kernel's filesystems/overlayfs.rst.
"""

from __future__ import annotations

import _thread
import errno
import os
from contextlib import contextmanager

from . import fuse, linux, mount_options
from .constants import (
    AT_FDCWD,
    CLONE_NEWNS,
    MNT_DETACH,
    MOUNT_ATTR_IDMAP,
    MS_PRIVATE,
    MS_REC,
    OPEN_TREE_CLONE,
    PR_SET_SECUREBITS,
    SECBIT_NO_SETUID_FIXUP,
)
from .errors import RuntimeFailure
from .filesystem import new_filesystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_PAGE = 4096


def _takes_layers_one_by_one(release: str) -> bool:
    major, minor = release.split(".")[:2]
    return (int(major), int("".join(c for c in minor if c.isdigit()) or 0)) >= (6, 8)


_ONE_BY_ONE = _takes_layers_one_by_one(os.uname().release)


def new_overlay(entry: dict[str, Any], *, in_own_namespace: bool) -> int:
    """Return the overlay of `lower` (the top first), `upper` and `work`; with no `upper` it is read-only.

    `in_own_namespace` says that the caller's mount namespace is private and nobody else's.
    """
    if fuse.is_served(entry):
        return fuse.new_fuse_overlay(entry)
    if entry.get("id_map"):
        return _new_mapped_overlay(entry)
    options = mount_options.parse(entry.get("options") or ())
    words = list(mount_options.flag_words(options.data))
    writable = [("upperdir", entry["upper"]), ("workdir", entry["work"])] if entry.get("upper") else []
    if _ONE_BY_ONE:
        data = [("lowerdir+", path) for path in entry["lower"]]
        return new_filesystem("overlay", "overlay", [*data, *writable, *words], options.attr_set)
    common = os.path.commonpath([*entry["lower"], *(path for _, path in writable)])
    text = _option_text(common, entry["lower"], [*writable, *words])
    fd = _mount_classic(common, text) if in_own_namespace else _in_a_namespace_of_its_own(common, text)
    if options.attr_set:
        linux.mount_setattr(fd, 0, attr_set=options.attr_set)
    return fd


def _new_mapped_overlay(entry: dict[str, Any]) -> int:
    """Return it with layers whose files belong to a user namespace's ids, and stay unchanged on disk (Linux 5.19).

    `id_map` has the namespace's `userns_fd`, and its root's `uid` and `gid` outside: overlayfs makes files of its own
    as whoever mounts it, and root's are not in the mapping.
    """
    id_map = entry["id_map"]
    paths = [*entry["lower"], *((entry["upper"], entry["work"]) if entry.get("upper") else ())]
    common = os.path.commonpath(paths)
    mapped_fd = linux.open_tree(AT_FDCWD, common, OPEN_TREE_CLONE)
    try:
        linux.mount_setattr(mapped_fd, 0, attr_set=MOUNT_ATTR_IDMAP, userns_fd=id_map["userns_fd"])
        base = f"/proc/self/fd/{mapped_fd}"
        places = {path: os.path.normpath(f"{base}/{os.path.relpath(path, common)}") for path in paths}
        changed: dict[str, Any] = {key: places[entry[key]] for key in ("upper", "work") if entry.get(key)}
        changed |= {"lower": [places[path] for path in entry["lower"]], "id_map": None}
        with acting_as(id_map["uid"], id_map["gid"]):
            return new_overlay({**entry, **changed}, in_own_namespace=False)
    finally:
        os.close(mapped_fd)


@contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """Make files as someone else, with all capabilities kept."""
    linux.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
    try:
        os.setegid(gid)
        os.seteuid(uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        linux.prctl(PR_SET_SECUREBITS, 0)


def _option_text(common: str, lower: list[str], others: list[tuple[str, str | None]]) -> str:
    layers = ":".join(_escape(os.path.relpath(path, common)) for path in lower)
    words = [f"lowerdir={layers}"]
    for key, value in others:
        if key in ("upperdir", "workdir") and value is not None:
            value = _escape(os.path.relpath(value, common))
        words.append(key if value is None else f"{key}={value}")
    text = ",".join(words)
    if len(os.fsencode(text)) >= _PAGE:
        raise RuntimeFailure("invalid_argument", f"cannot mount {len(lower)} layers: their paths are too long")
    return text


def _escape(path: str) -> str:
    for character in "\\:,":
        path = path.replace(character, "\\" + character)
    return path


def _mount_classic(common: str, text: str) -> int:
    """Mount over the layers' common directory, which relative paths still see below, and take the mount off again."""
    back_fd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(common)
        linux.mount("overlay", common, "overlay", 0, text)
        try:
            return linux.open_tree(AT_FDCWD, common, OPEN_TREE_CLONE)
        finally:
            linux.umount2(common, MNT_DETACH)
    finally:
        os.fchdir(back_fd)
        os.close(back_fd)


def _in_a_namespace_of_its_own(common: str, text: str) -> int:
    """Do it in a thread that leaves the process's mount namespace and working directory; both end with it."""
    result: list[int | OSError] = []
    done = _thread.allocate_lock()
    done.acquire()

    def work() -> None:
        try:
            linux.unshare(CLONE_NEWNS)
            linux.mount("", "/", "", MS_REC | MS_PRIVATE)
            result.append(_mount_classic(common, text))
        except OSError as error:
            result.append(error)
        finally:
            done.release()

    _thread.start_new_thread(work, ())
    done.acquire()
    outcome = result[0] if result else OSError(errno.EIO, "mount", common)
    if isinstance(outcome, OSError):
        raise outcome
    return outcome
