"""A spec of lightship's in the words that every OCI runtime knows.

What only lightship's own runtime understands is done here: users are looked up in the image's files, layers and parts
of volumes are mounted beside the root, to be bound from there, and descriptors become paths that another process can
open. Used by `command.py`, in a worker, whose mount namespace this leaves.
"""

from __future__ import annotations

import os
import stat

from ..runtime import fuse, linux, mount_options, rootfs, users
from ..runtime.constants import AT_RECURSIVE, CLONE_NEWNS, O_PATH, OPEN_TREE_CLONE
from ..runtime.filesystem import new_filesystem
from ..runtime.mounts import clone_below, open_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_OWN_DESCRIPTOR = "/proc/self/fd/"
_OCI_VERSION = "1.0.2"
"""Some refuse versions that they do not know, and nothing newer is used."""


def plain_spec(spec: dict[str, Any], root: str, directory: str, layers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mount the root at `root`, in a new mount namespace, and return the spec; `directory` takes further mounts."""
    fuse.note_namespace()
    linux.unshare(CLONE_NEWNS)
    rootfs.isolate(root, spec["linux"].get("rootfsPropagation") or "")
    root_fd = rootfs.attach(root, rootfs.open_mounts(layers, in_own_namespace=True))
    process = plain_process(spec["process"], root_fd)
    os.close(root_fd)
    mounts = [_plain_mount(entry, f"{directory}/mount-{number}") for number, entry in enumerate(spec["mounts"])]
    plain = {
        **spec,
        "ociVersion": _OCI_VERSION,
        "root": {**spec["root"], "path": root},
        "process": process,
        "mounts": mounts,
    }
    plain["linux"] = _plain_linux(spec["linux"], plain.pop("domainname", ""))
    return plain


def plain_process(process: dict[str, Any], root_fd: int) -> dict[str, Any]:
    """Return the process with numbers for its user, from the files below `root_fd`."""
    given = process["user"]
    if "username" not in given and "additionalGroups" not in given:
        return process
    name = given.get("username") or f"{given.get('uid', 0)}:{given.get('gid', 0)}"
    found = users.lookup_user(root_fd, name, given.get("additionalGroups") or ())
    user = {"uid": found.uid, "gid": found.gid, "additionalGids": found.additional_gids}
    return {**process, "user": user}


def _plain_linux(given: dict[str, Any], domain_name: str) -> dict[str, Any]:
    namespaces = [
        {**entry, "path": _path_for_others(entry["path"])} if "path" in entry else entry
        for entry in given["namespaces"]
    ]
    plain = {**given, "namespaces": namespaces}
    if domain_name:
        # Older than the spec's own field, and known to all
        plain["sysctl"] = {**given.get("sysctl", {}), "kernel.domainname": domain_name}
    return plain


def _path_for_others(path: str) -> str:
    if not path.startswith(_OWN_DESCRIPTOR):
        return path
    return f"/proc/{os.getpid()}/fd/{path.removeprefix(_OWN_DESCRIPTOR)}"


def _plain_mount(entry: dict[str, Any], place: str) -> dict[str, Any]:
    """Return the entry, or a bind of what was mounted at `place` for it."""
    subpath = entry.get("subpath", "")
    if not (subpath or "lower" in entry or "mount_fd" in entry):
        return entry
    words = entry.get("options") or []
    options = mount_options.parse(words)
    is_bind = options.bind or entry.get("type") == "bind"
    if "mount_fd" in entry:
        _attach(entry["mount_fd"], place)
    elif "lower" in entry or is_bind:
        _attach(open_source(entry, options, in_own_namespace=True), place)
    else:
        data = list(mount_options.flag_words(options.data))
        _attach(new_filesystem(entry["type"], entry.get("source") or entry["type"], data, options.attr_set), place)
    if subpath and not ("lower" not in entry and is_bind):
        place = _part(place, subpath)
    kept = [word for word in words if word in mount_options.KNOWN and word not in ("bind", "rbind")]
    return {"destination": entry["destination"], "type": "bind", "source": place, "options": ["rbind", *kept]}


def _part(place: str, subpath: str) -> str:
    """Mount a part of what is at `place` beside it, resolved by the kernel and never outside."""
    base_fd = os.open(place, O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    part = f"{place}-part"
    try:
        _attach(clone_below(base_fd, subpath, OPEN_TREE_CLONE | AT_RECURSIVE), part)
    finally:
        os.close(base_fd)
    return part


def _attach(mount_fd: int, place: str) -> None:
    """Attach a detached mount, a directory or a file, at a path that is made for it."""
    if stat.S_ISDIR(os.fstat(mount_fd).st_mode):
        os.makedirs(place, exist_ok=True)
    else:
        os.close(os.open(place, os.O_CREAT | os.O_CLOEXEC, 0o600))
    target_fd = os.open(place, O_PATH | os.O_CLOEXEC)
    try:
        linux.move_mount(mount_fd, target_fd, target=place)
    finally:
        os.close(target_fd)
        os.close(mount_fd)
