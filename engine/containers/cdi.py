"""CDI devices: what the host's device vendors say a container needs (`--device vendor.com/class=name`).

Specs are JSON or YAML files in the directories that `docker info` names, the later ones first in rank; they are read at
each start that asks for a device, as they change with the hardware. The result are edits of the OCI spec: variables,
device nodes, mounts, hooks and groups (the CDI specification, 1.0).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from ..errors import Internal

_FAILED = "CDI device injection failed: "
_SUFFIXES = (".json", ".yaml", ".yml")
_UNSUPPORTED = ("netDevices", "intelRdt")
_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")

Edits = dict[str, Any]
Spec = dict[str, Any]


def inject(spec: Spec, names: Sequence[str], directories: Iterable[str]) -> None:
    """Edit an OCI spec for the devices; raise Internal for one that no file describes."""
    found: dict[str, tuple[int, Edits, Edits]] = {}
    for number, vendor in enumerate(_files(directories)):
        for device in vendor.get("devices") or ():
            name = f"{vendor.get('kind')}={device.get('name')}"
            found[name] = (number, vendor.get("containerEdits") or {}, device.get("containerEdits") or {})
    if unknown := [name for name in names if name not in found]:
        raise Internal(f"{_FAILED}unresolvable CDI devices {', '.join(unknown)}")
    seen: set[int] = set()
    for name in names:
        number, common, own = found[name]
        if number not in seen:
            seen.add(number)
            _apply(spec, common)
        _apply(spec, own)
    spec["mounts"].sort(key=lambda mount: mount["destination"].count("/"))


def described(directories: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the annotations of each device that there is: its file's and its own."""
    found = {}
    for vendor in _files(directories):
        for device in vendor.get("devices") or ():
            name = f"{vendor.get('kind')}={device.get('name')}"
            found[name] = {**(vendor.get("annotations") or {}), **(device.get("annotations") or {})}
    return found


def _files(directories: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield what can be read; one vendor's broken file must not keep another's devices away."""
    for directory in directories:
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        for name in names:
            if name.endswith(_SUFFIXES):
                try:
                    with open(os.path.join(directory, name), "rb") as file:
                        yield _decode(file.read(), is_json=name.endswith(".json"))
                except (OSError, ValueError):
                    continue


def _decode(content: bytes, *, is_json: bool) -> dict[str, Any]:
    """Read one file; ValueError where it cannot be."""
    if is_json:
        return msgspec.json.decode(content, type=dict[str, Any])
    import yaml  # few hosts have such devices

    try:
        return msgspec.convert(yaml.safe_load(content), dict[str, Any])
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _apply(spec: Spec, edits: Edits) -> None:
    for name in _UNSUPPORTED:
        if edits.get(name):
            raise Internal(f"{_FAILED}{name} are not supported")
    process = spec["process"]
    for variable in edits.get("env") or ():
        name = variable.partition("=")[0]
        process["env"] = [other for other in process["env"] if other.partition("=")[0] != name] + [variable]
    for node in edits.get("deviceNodes") or ():
        _add_device(spec, node)
    for mount in edits.get("mounts") or ():
        at = mount["containerPath"]
        spec["mounts"] = [other for other in spec["mounts"] if other["destination"] != at]
        words = mount.get("options") or []
        kind = mount.get("type") or ("bind" if {"bind", "rbind"} & set(words) else "")
        spec["mounts"].append({"destination": at, "source": mount["hostPath"], "type": kind, "options": words})
    for hook in edits.get("hooks") or ():
        if hook["hookName"] not in _HOOKS:
            raise Internal(f'{_FAILED}failed to inject devices: unknown hook name "{hook["hookName"]}"')
        kept = {key: hook[key] for key in ("path", "args", "env", "timeout") if key in hook}
        spec.setdefault("hooks", {}).setdefault(hook["hookName"], []).append(kept)
    groups = [str(gid) for gid in edits.get("additionalGids") or () if gid]
    if groups:
        process["user"]["additionalGroups"] = [*process["user"].get("additionalGroups", ()), *groups]


def _add_device(spec: Spec, node: dict[str, Any]) -> None:
    device = _complete(node)
    nodes = spec["linux"].setdefault("devices", [])
    nodes[:] = [other for other in nodes if other["path"] != device["path"]]
    nodes.append(device)
    if device["type"] in ("b", "c"):
        rule = {key: device[key] for key in ("type", "major", "minor")}
        access = node.get("permissions") or "rwm"
        spec["linux"]["resources"]["devices"].append({"allow": True, **rule, "access": access})


def _complete(node: dict[str, Any]) -> dict[str, Any]:
    """Return the OCI device, with what the spec leaves out taken from the host's node."""
    device = {"path": node["path"]} | {
        name: node[name] for name in ("type", "major", "minor", "fileMode", "uid", "gid") if name in node
    }
    if device.get("type") == "p" or (device.get("type") and device.get("major")):
        return device
    path = node.get("hostPath") or node["path"]
    try:
        info = os.stat(path)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise Internal(f"{_FAILED}failed to inject devices: failed to stat CDI host device {path}: {reason}") from error
    kind = "c" if stat.S_ISCHR(info.st_mode) else "b" if stat.S_ISBLK(info.st_mode) else "p"
    if kind != "p":
        device |= {"major": os.major(info.st_rdev), "minor": os.minor(info.st_rdev)}
    return {"fileMode": stat.S_IMODE(info.st_mode)} | device | {"type": device.get("type") or kind}
