"""Which device nodes a container has, and which devices its control group lets it use.

Looks at the host's nodes when a container starts, as dockerd does: a device may come and go between starts. The nodes
that every container has (null, zero, …) are the runtime's.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from typing import Any

from ...openapi.types.hostconfig import DeviceMapping, DeviceRequest
from ..errors import InvalidArgument

Device = dict[str, Any]
"""An OCI linux.devices entry."""
Rule = dict[str, Any]
"""An OCI linux.resources.devices entry."""

_RULE = re.compile(r"([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})")
_ALLOWED = ((1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1))
_FUSE = (10, 229)
# Directories of /dev that hold no devices of the host's, or only another container's.
_SKIPPED_DIRECTORIES = frozenset(("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"))


def default_rules() -> list[Rule]:
    """Deny everything, then allow what each container has; consoles and pty masters are the runtime's to add."""
    rules: list[Rule] = [{"allow": False, "access": "rwm"}]
    rules += [_rule(True, "c", major, minor, "rwm") for major, minor in _ALLOWED]
    rules.append(_rule(False, "c", *_FUSE, "rwm"))
    return rules


def asked_for(
    mappings: Iterable[DeviceMapping] | None, cgroup_rules: Iterable[str] | None, *, privileged: bool
) -> tuple[list[Device], list[Rule]]:
    """Return nodes and rules for `--device` and `--device-cgroup-rule`; a privileged container has all of both."""
    if privileged:
        nodes = list(_walk("/dev", "/dev"))
        for mapping in mappings or ():
            if mapping.path_on_host != mapping.path_in_container:
                nodes += _from_path(mapping)
        return nodes, [*default_rules(), {"allow": True, "access": "rwm"}]
    devices: list[Device] = []
    rules = default_rules()
    for mapping in mappings or ():
        found = _from_path(mapping)
        devices += found
        access = mapping.cgroup_permissions
        rules += [_rule(True, node["type"], node["major"], node["minor"], access) for node in found]
    rules += [parse_rule(text) for text in cgroup_rules or ()]
    return devices, rules


def parse_rule(text: str) -> Rule:
    """Read `c 42:* rmw`; a star is any number."""
    match = _RULE.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"invalid device cgroup rule format: '{text}'")
    kind, major, minor, access = match.groups()
    return _rule(True, kind, _number(major), _number(minor), access)


def cdi_devices(requests: Iterable[DeviceRequest] | None, *, has_cdi: bool = True) -> list[str]:
    """Return the names of the CDI devices asked for; raise as dockerd does where it has no driver (GPUs)."""
    names: list[str] = []
    for request in requests or ():
        if request.driver != "cdi" or not has_cdi:
            wanted = " ".join(f"[{' '.join(words)}]" for words in request.capabilities or ())
            raise InvalidArgument(f'could not select device driver "{request.driver}" with capabilities: [{wanted}]')
        for field, value in (("count", request.count), ("options", request.options)):
            if value:
                raise InvalidArgument(f"unexpected {field} in CDI device request")
        names += request.device_ids or ()
    return names


def number_of(path: str) -> tuple[int, int]:
    """Return major and minor of the device at `path`, for block I/O limits."""
    try:
        info = os.stat(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "invalid argument"
        raise InvalidArgument(f"stat {path}: {(reason or '').lower()}") from error
    return os.major(info.st_rdev), os.minor(info.st_rdev)


def _number(text: str) -> int:
    return -1 if text == "*" else int(text)


def _rule(allow: bool, kind: str, major: int, minor: int, access: str) -> Rule:
    return {"allow": allow, "type": kind, "major": major, "minor": minor, "access": access}


def _from_path(mapping: DeviceMapping) -> list[Device]:
    """Return the node, or all nodes in a directory, under their paths in the container."""
    host_path = os.path.realpath(mapping.path_on_host)
    try:
        node = _node(host_path, mapping.path_in_container)
        if node is not None:
            return [node]
        found = list(_walk(host_path, mapping.path_in_container)) if os.path.isdir(host_path) else []
        reason = "not a device node"
    except (OSError, ValueError) as error:
        found = []
        reason = (error.strerror or "") if isinstance(error, OSError) else "invalid argument"
    if not found:
        raise InvalidArgument(
            f'error gathering device information while adding custom device "{mapping.path_on_host}": {reason.lower()}'
        )
    return found


def _node(host_path: str, path: str) -> Device | None:
    info = os.lstat(host_path)
    kind = "c" if stat.S_ISCHR(info.st_mode) else "b" if stat.S_ISBLK(info.st_mode) else ""
    if not kind:
        return None
    return {
        "path": path,
        "type": kind,
        "major": os.major(info.st_rdev),
        "minor": os.minor(info.st_rdev),
        "fileMode": stat.S_IMODE(info.st_mode),
        "uid": info.st_uid,
        "gid": info.st_gid,
    }


def _walk(folder: str, path: str) -> Iterator[Device]:
    """Yield the nodes below a directory; what disappears meanwhile is passed over."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        inner = os.path.join(folder, name)
        try:
            if os.path.isdir(inner) and not os.path.islink(inner):
                if name not in _SKIPPED_DIRECTORIES:
                    yield from _walk(inner, os.path.join(path, name))
            elif name != "console" and (node := _node(inner, os.path.join(path, name))) is not None:
                yield node
        except OSError:
            continue
