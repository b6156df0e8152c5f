"""What a runtime spec must be before anything is made of it.

The spec stays a plain dict (OCI runtime-spec's config.json). `check` refuses what cannot work and what lightship does
not do; it does not look at every type, since the engine makes its specs itself.
"""

from __future__ import annotations

import os

from . import sysctl
from .errors import RuntimeFailure
from .mount_options import is_id_mapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .namespaces import Namespaces

_NO_SELINUX = "selinux label is specified in config, but selinux is disabled or not supported"
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


def check_id(id: str) -> None:
    if not id:
        raise RuntimeFailure("invalid_argument", "container id cannot be empty")
    if not set(id) <= _ID_CHARACTERS or id in (".", ".."):
        raise RuntimeFailure("invalid_argument", "invalid container ID format")


def check(spec: dict[str, Any], namespaces: Namespaces) -> None:
    """Refuse a spec that cannot work; messages are runc's where it has one."""
    process = spec.get("process")
    if not process:
        raise RuntimeFailure("invalid_argument", "process property must not be empty")
    check_process(process)
    if not (spec.get("root") or {}).get("path"):
        raise RuntimeFailure("invalid_argument", "root must be specified")
    linux = spec.get("linux") or {}
    _check_namespaces(spec, linux, namespaces)
    for entry in spec.get("mounts") or ():
        _check_mount(entry, linux, namespaces)
    propagation = linux.get("rootfsPropagation") or ""
    if propagation not in (
        "",
        "private",
        "rprivate",
        "slave",
        "rslave",
        "shared",
        "rshared",
        "unbindable",
        "runbindable",
    ):
        raise RuntimeFailure("invalid_argument", f"rootfsPropagation={propagation} is not supported")
    if process.get("scheduler") and ((linux.get("resources") or {}).get("cpu") or {}).get("cpus"):
        text = "process scheduler can't be used together with AllowedCPUs"
        raise RuntimeFailure("invalid_argument", text)
    sysctl.check(linux.get("sysctl") or {}, namespaces)
    for key in ("intelRdt", "netDevices"):
        if linux.get(key):
            raise RuntimeFailure("not_implemented", f"linux.{key} is not implemented")
    if linux.get("mountLabel"):
        raise RuntimeFailure("invalid_argument", _NO_SELINUX)
    if (linux.get("seccomp") or {}).get("listenerPath"):
        raise RuntimeFailure("not_implemented", "seccomp notification (listenerPath) is not implemented")


def check_process(process: dict[str, Any]) -> None:
    if process.get("selinuxLabel"):
        raise RuntimeFailure("invalid_argument", _NO_SELINUX)
    if not process.get("args"):
        raise RuntimeFailure("invalid_argument", "args must not be empty")
    if not os.path.isabs(process.get("cwd") or ""):
        text = "Cwd property must not be empty" if not process.get("cwd") else "Cwd must be an absolute path"
        raise RuntimeFailure("invalid_argument", text)
    if any("\0" in argument for argument in process["args"]):
        raise RuntimeFailure("invalid_argument", "args must not contain nul bytes")


def _check_mount(entry: dict[str, Any], linux: dict[str, Any], namespaces: Namespaces) -> None:
    if not entry.get("destination"):
        raise RuntimeFailure("invalid_argument", f"invalid mount {entry!r}: no destination")
    if not is_id_mapped(entry):
        return
    problem = ""
    given = entry if entry.get("uidMappings") or entry.get("gidMappings") else linux
    if entry.get("type") != "bind" and not {"bind", "rbind"} & set(entry.get("options") or ()):
        problem = "id-mapped mounts are only supported for bind-mounts"
    elif "user" in namespaces.joined and given is linux:
        pass  # the namespace has the mapping
    elif not (given.get("uidMappings") and given.get("gidMappings")):
        problem = "id-mapped mounts must have both uid and gid mappings specified"
    if problem:
        raise RuntimeFailure("invalid_argument", f"invalid mount {entry!r}: {problem}")


def _check_namespaces(spec: dict[str, Any], linux: dict[str, Any], namespaces: Namespaces) -> None:
    if spec.get("hostname") and not namespaces.has("uts"):
        raise RuntimeFailure("invalid_argument", "unable to set hostname without a private UTS namespace")
    if spec.get("domainname") and not namespaces.has("uts"):
        raise RuntimeFailure("invalid_argument", "unable to set domainname without a private UTS namespace")
    if not namespaces.has("mount") and (linux.get("maskedPaths") or linux.get("readonlyPaths")):
        text = "unable to restrict sys entries without a private MNT namespace"
        raise RuntimeFailure("invalid_argument", text)
    new_user = namespaces.has("user") and "user" not in namespaces.joined
    if new_user != bool(linux.get("uidMappings")) and "user" not in namespaces.joined:
        text = "user namespace mappings and a new user namespace need each other"
        raise RuntimeFailure("invalid_argument", text)
    if linux.get("timeOffsets") and not namespaces.has("time"):
        text = "time namespace offsets specified, but time namespace isn't enabled in the config"
        raise RuntimeFailure("invalid_argument", text)
